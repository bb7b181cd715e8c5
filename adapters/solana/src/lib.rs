//! The Solana chain driver on solana-client: anchors receipt logs as memos, pays lamports and tokens.
//!
//! Solana counts no transactions of an account; each can land until its blockhash is too old. The driver says how long
//! that is, and when it is over for good; only then may the outbox sign another.

mod anchor;
pub mod chain;
mod credits;
mod deposit;
pub mod devnet;
mod endpoint;
mod events;
mod history;
mod instruction;
mod sender;
pub mod signer;
mod signing;

pub use chain::{SolanaChain, SolanaConfig};
pub use devnet::{Devnet, DevnetError};
pub use signer::{LocalSigner, address_of, read_secret, secret_of};
