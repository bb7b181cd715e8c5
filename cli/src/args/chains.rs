//! What can be written about chains, their outboxes and the accounts that send.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Subcommands of `chains`.
#[derive(Debug, Subcommand)]
pub enum Chains {
    /// The node's chains, who sends on them, and how they are
    #[command(visible_alias = "ls")]
    List,
    /// One chain in full
    Show {
        /// The chain's CAIP-2 id
        chain: String,
    },
    /// Check a chain's endpoints and write the chain into a node's configuration file; the node takes it up at its next
    /// start
    Add(Box<AddChain>),
}

/// Subcommands of `contracts`.
#[derive(Debug, Subcommand)]
pub enum Contracts {
    /// The contracts that operators put on chains
    #[command(visible_alias = "ls")]
    List {
        /// The chain's CAIP-2 id [default: every chain]
        #[arg(long)]
        chain: Option<String>,
    },
    /// Put a contract on a chain through its outbox; the same with the same arguments is made once, however often asked
    Deploy {
        /// Which: on EVM chains escrow, identity, multi-owner, reputation or stake; on Solana credits, which are a token
        contract: String,
        /// The chain's CAIP-2 id
        #[arg(long)]
        chain: String,
        /// What it is made with, such as token=0x… owner=0x…; left out, the refusal says what is needed
        #[arg(value_name = "NAME=VALUE")]
        arguments: Vec<String>,
    },
}

/// Arguments of `chains add`.
#[derive(Debug, Clone, Args)]
pub struct AddChain {
    /// The chain's CAIP-2 id, such as eip155:1
    pub chain: String,
    /// The node's configuration file
    #[arg(long, short)]
    pub config: PathBuf,
    /// An endpoint that speaks the chain's JSON-RPC; several, the preferred one first
    #[arg(long, required = true)]
    pub endpoint: Vec<String>,
    /// How many endpoints must say the same before it is believed what is final
    #[arg(long)]
    pub quorum: Option<usize>,
    /// The environment variable that holds the signing key: for development
    #[arg(long, value_name = "VARIABLE", group = "signing")]
    pub key_env: Option<String>,
    /// The encrypted keystore with the signing key
    #[arg(long, value_name = "FILE", group = "signing", requires = "keystore_password_file")]
    pub keystore: Option<PathBuf>,
    /// The file with the keystore's password
    #[arg(long, value_name = "FILE")]
    pub keystore_password_file: Option<PathBuf>,
    /// On Cosmos chains: what its addresses begin with
    #[arg(long)]
    pub prefix: Option<String>,
    /// On Cosmos chains: the coin that fees are paid in
    #[arg(long)]
    pub denom: Option<String>,
    /// On Cosmos chains: the least that is offered for a unit of gas, in that coin
    #[arg(long)]
    pub gas_price: Option<String>,
    /// On Cosmos chains: the most that is offered for a unit of gas
    #[arg(long)]
    pub gas_price_max: Option<String>,
}

/// Arguments of `outbox`.
#[derive(Debug, Clone, Args)]
pub struct Outbox {
    /// The chain's CAIP-2 id [default: every chain]
    pub chain: Option<String>,
}

/// Subcommands of `wallets`.
#[derive(Debug, Subcommand)]
pub enum Wallets {
    /// The accounts that send, and what they have
    #[command(visible_alias = "ls")]
    List,
    /// One account in full
    Show {
        /// The chain's CAIP-2 id
        chain: String,
    },
    /// Make a key and write it into a new encrypted keystore file
    New(NewWallet),
    /// Write a key that exists into a new encrypted keystore file
    Import {
        /// The file with the key, as tools write it [default: ask for it]
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// Where it goes
        #[command(flatten)]
        wallet: NewWallet,
    },
}

/// Where a keystore goes, and what it is for.
#[derive(Debug, Clone, Args)]
pub struct NewWallet {
    /// The keystore file, which must not exist yet
    pub file: PathBuf,
    /// The sort of chain that the key is for
    #[arg(long = "for", value_enum, default_value_t = Family::Evm)]
    pub family: Family,
    /// With --for cosmos: what the chain's addresses begin with
    #[arg(long, default_value = "cosmos")]
    pub prefix: String,
    /// The file with the password, of which the first line counts [default: ask for it]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// A sort of chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// eip155:…
    Evm,
    /// cosmos:…
    Cosmos,
    /// solana:…
    Solana,
}
