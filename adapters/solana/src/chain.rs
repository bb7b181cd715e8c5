//! The `Chain` port over a Solana cluster's JSON-RPC endpoint.
//!
//! Blocks are named by their slots, expiry by block height, which counts only the slots that have a block.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use solana_client::rpc_config::RpcSendTransactionConfig;
use solana_client::rpc_request::RpcRequest;
use solana_commitment_config::{CommitmentConfig, CommitmentLevel};
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;
use solana_signature::Signature;
use solana_transaction_status_client_types::UiTransactionEncoding;
use spl_token_2022_interface::extension::StateWithExtensions;
use spl_token_2022_interface::state::{Account as TokenAccount, Mint};
use steward_adapters::chain::{
    Action, Amount, AnchoredHead, Broadcast, Chain, ChainError, ChainId, Consistency, ContractCall, EmittedEvent,
    EventFilter, Head, InclusionClaim, SignedTransaction, TransactionStatus,
};
use steward_adapters::fee::{Fee, MarketFee};
use steward_adapters::signer::Signer;
use url::Url;

use crate::credits::{MintCall, NewCredits};
use crate::deposit::account_bytes;
use crate::endpoint::{Endpoint, commitment};
use crate::events::Watched;
use crate::instruction::{self, TOKEN_PROGRAM, Token};

/// How many characters of the hash of a cluster's first block name it: CAIP-2 for Solana, CAIP-30.
const REFERENCE_LEN: usize = 32;
/// The part of the recent prices, in percent, that ours is above.
const PRICE_PERCENTILE: usize = 75;

/// How a cluster is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SolanaConfig {
    /// The CAIP-2 identifier, such as `solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp`. The endpoint must be on this cluster.
    pub chain: ChainId,
    /// The endpoint of its JSON-RPC. It must keep the history of transactions, without a gap.
    pub endpoint: Url,
    /// The most compute units that one transaction may need.
    #[serde(default = "default_units_max")]
    pub units_max: u32,
}

/// One account on one Solana cluster.
#[derive(Debug)]
pub struct SolanaChain {
    pub(crate) config: SolanaConfig,
    pub(crate) account: Pubkey,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) endpoint: Endpoint,
}

impl SolanaChain {
    /// The cluster as this signer's account sees it. Does not connect: a cluster that is down may come up.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] when the configuration or the signer is not for a Solana cluster.
    pub fn new(config: SolanaConfig, signer: Arc<dyn Signer>) -> Result<Self, ChainError> {
        if config.chain.namespace() != "solana" || config.chain.reference().len() != REFERENCE_LEN {
            let reason = "a cluster reads solana: and the first 32 characters of the hash of its first block";
            return Err(malformed("the chain", reason));
        }
        let account = signer.address().parse();
        let account = account.map_err(|_| malformed("the signer's address", "an address is 32 bytes in base58"))?;
        let endpoint = Endpoint::new(config.chain.clone(), &config.endpoint);
        Ok(Self { config, account, signer, endpoint })
    }

    /// The CAIP-2 identifier of the cluster that an endpoint is on.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`]; [`ChainError::Malformed`] when what it answers is no hash.
    pub async fn identify(endpoint: &Url) -> Result<ChainId, ChainError> {
        let unknown = "solana:unknown".parse().expect("it is written as an identifier is");
        let endpoint = Endpoint::new(unknown, endpoint);
        let genesis = endpoint.ask(endpoint.client().get_genesis_hash()).await?;
        chain_of(&genesis.to_string())
    }

    async fn check_chain(&self) -> Result<String, ChainError> {
        let genesis = self.endpoint.ask(self.endpoint.client().get_genesis_hash()).await?.to_string();
        let found = chain_of(&genesis)?;
        if found == self.config.chain {
            return Ok(genesis);
        }
        Err(ChainError::WrongChain { expected: self.config.chain.clone(), found })
    }

    /// What an action does, and the deposit of the account that it makes.
    async fn instructions(&self, action: &Action) -> Result<(Vec<Instruction>, Amount), ChainError> {
        match action {
            Action::Anchor { point, .. } => {
                let newest = self.newest_anchor(&point.log_id).await?;
                if newest.is_some_and(|newest| !point.may_follow(&newest)) {
                    let reason = "the log has a larger tree or another root on the chain".to_owned();
                    return Err(ChainError::Rejected { reason });
                }
                Ok((vec![instruction::memo(&point.to_memo(), &self.account)], Amount::ZERO))
            }
            Action::Transfer { to, amount, asset } => {
                let to = address("the receiver's address", to)?;
                let amount = u64::try_from(amount.units()).map_err(|_| rejected("no account has so much"))?;
                match asset {
                    None => Ok((vec![instruction::transfer(&self.account, &to, amount)], Amount::ZERO)),
                    Some(mint) => self.token_payment(&self.token(mint).await?, &to, amount).await,
                }
            }
            Action::Call { contract, input, value } => {
                if *value > Amount::ZERO {
                    return Err(rejected("no coins go with a call of a mint"));
                }
                self.mint_call(contract, input).await
            }
            Action::DeployReceiptLog => Err(rejected("anchors are memos here and need no contract")),
            Action::Deploy { contract, arguments } => self.creation(&NewCredits::read(contract, arguments)?).await,
            Action::Fill => Err(rejected("transactions have no numbers here that could be missing")),
        }
    }

    /// The token of a mint.
    pub(crate) async fn token(&self, mint: &str) -> Result<Token, ChainError> {
        let mint = address("the mint's address", mint)?;
        let answer = self.endpoint.client().get_account_with_commitment(&mint, CommitmentConfig::confirmed());
        let account = self.endpoint.ask(answer).await?.value;
        let account = account.ok_or_else(|| ChainError::Rejected { reason: format!("there is no mint {mint}") })?;
        // Any program can keep an account that reads as a mint, and what is done with its token would be that program's.
        let is_kept = [TOKEN_PROGRAM, spl_token_2022_interface::ID].contains(&account.owner);
        let state = StateWithExtensions::<Mint>::unpack(&account.data).ok().filter(|_| is_kept);
        let state = state.ok_or_else(|| ChainError::Rejected { reason: format!("{mint} is not a mint") })?;
        let account_bytes = account_bytes(&account.owner, &account.data)?;
        Ok(Token { mint, program: account.owner, decimals: state.base.decimals, account_bytes })
    }
}

#[async_trait]
impl Chain for SolanaChain {
    fn id(&self) -> &ChainId {
        &self.config.chain
    }

    fn account(&self) -> &str {
        self.signer.address()
    }

    async fn check_signer(&self) -> Result<(), ChainError> {
        Ok(self.signer.check().await?)
    }

    async fn genesis(&self) -> Result<String, ChainError> {
        self.check_chain().await
    }

    async fn head(&self) -> Result<Head, ChainError> {
        let client = self.endpoint.client();
        let latest = client.get_latest_blockhash_with_commitment_and_context(commitment(Consistency::Latest));
        let latest = self.endpoint.ask(latest).await?;
        let finalized = client.get_slot_with_commitment(commitment(Consistency::Final));
        let final_block = self.endpoint.ask(finalized).await?;
        Ok(Head { block: latest.context.slot, hash: latest.value.0.to_string(), final_block })
    }

    async fn confirmed_block(&self) -> Result<u64, ChainError> {
        Ok(self.head().await?.block)
    }

    async fn sequence(&self, _: Consistency) -> Result<Option<u64>, ChainError> {
        Ok(None)
    }

    async fn market_fee(&self) -> Result<MarketFee, ChainError> {
        let recent = self.endpoint.ask(self.endpoint.client().get_recent_prioritization_fees(&[self.account])).await?;
        let mut prices: Vec<u64> = recent.iter().map(|fee| fee.prioritization_fee).collect();
        prices.sort_unstable();
        let tip = prices.get(prices.len() * PRICE_PERCENTILE / 100).copied().unwrap_or_default();
        Ok(MarketFee { base: 0, tip })
    }

    async fn sign(&self, action: &Action, sequence: u64, fee: Fee) -> Result<SignedTransaction, ChainError> {
        let (instructions, deposit) = self.instructions(action).await?;
        let signed = self.sign_instructions(&instructions, sequence, fee, deposit).await?;
        let Action::Deploy { contract, arguments } = action else { return Ok(signed) };
        let mint = NewCredits::read(contract, arguments)?.mint(&self.account)?;
        Ok(SignedTransaction { creates: Some(mint.to_string()), ..signed })
    }

    async fn expiry(&self) -> Result<Option<u64>, ChainError> {
        self.newest_expiry().await.map(Some)
    }

    async fn broadcast(&self, bytes: &[u8]) -> Result<Broadcast, ChainError> {
        // It was simulated when it was signed. Another try on an endpoint that lags would only keep it back, and who
        // sends it again is the outbox.
        let config = RpcSendTransactionConfig {
            skip_preflight: true,
            preflight_commitment: Some(CommitmentLevel::Confirmed),
            encoding: Some(UiTransactionEncoding::Base64),
            max_retries: Some(0),
            min_context_slot: None,
        };
        let call = self.endpoint.client().send(RpcRequest::SendTransaction, json!([BASE64.encode(bytes), config]));
        match self.endpoint.offer::<String>(call).await {
            Ok(_) => Ok(Broadcast::Accepted),
            Err(ChainError::Rejected { reason }) if reason.contains("already been processed") => {
                Ok(Broadcast::Accepted)
            }
            Err(ChainError::Rejected { reason }) => Ok(Broadcast::Refused { reason }),
            Err(error) => Err(error),
        }
    }

    async fn status(&self, transaction: &SignedTransaction) -> Result<TransactionStatus, ChainError> {
        let SignedTransaction { hash, expires, .. } = transaction;
        let signature: Signature = hash.parse().map_err(|_| malformed("the transaction's signature", hash))?;
        let expires = expires.ok_or_else(|| malformed("the transaction", "it does not say when it expires"))?;
        if let Some(status) = self.found(&signature).await? {
            return self.with_paid(status, transaction).await;
        }
        let finalized = self.endpoint.client().get_epoch_info_with_commitment(CommitmentConfig::finalized());
        let finalized = self.endpoint.ask(finalized).await?;
        if finalized.block_height < expires {
            return Ok(TransactionStatus::Unknown);
        }
        let lifetime = self.lifetime(expires, finalized.absolute_slot, finalized.block_height).await?;
        let Some(lifetime) = lifetime else { return Ok(TransactionStatus::Unknown) };
        // It may have landed between the questions: only a second look, at what was final then, tells.
        let found = self.found_within(&signature, &lifetime).await?;
        self.with_paid(found.unwrap_or(TransactionStatus::Expired), transaction).await
    }

    async fn balance(&self, account: &str, asset: Option<&str>, at: Consistency) -> Result<Amount, ChainError> {
        let wallet = address("the account's address", account)?;
        let token = match asset {
            None => None,
            Some(mint) => Some(self.token(mint).await?),
        };
        let holder = token.map_or(wallet, |token| token.account_of(&wallet));
        let found = self.endpoint.client().get_account_with_commitment(&holder, commitment(at));
        let found = self.endpoint.ask(found).await?;
        if let Consistency::Block(block) = at
            && found.context.slot < block
        {
            return Err(ChainError::Behind { chain: self.config.chain.clone(), block });
        }
        match (found.value, token) {
            (None, _) => Ok(Amount::ZERO),
            (Some(account), None) => Ok(Amount::from(account.lamports)),
            // Coins that somebody sent to its address beforehand do not make it an account of the token.
            (Some(account), Some(token)) if account.owner != token.program => Ok(Amount::ZERO),
            (Some(account), Some(_)) => {
                let state = StateWithExtensions::<TokenAccount>::unpack(&account.data);
                let state = state.map_err(|error| malformed("the token account", &error.to_string()))?;
                Ok(Amount::from(state.base.amount))
            }
        }
    }

    async fn read(&self, _: &str, _: &[u8], _: Consistency) -> Result<Bytes, ChainError> {
        Err(rejected("programs are not called here"))
    }

    fn canonical_address(&self, address: &str) -> Result<String, ChainError> {
        self::address("the address", address).map(|address| address.to_string())
    }

    fn canonical_method(&self, method: &str) -> Result<String, ChainError> {
        MintCall::method(method).map(str::to_owned)
    }

    fn encode_call(&self, signature: Option<&str>, arguments: &Value) -> Result<ContractCall, ChainError> {
        MintCall::encode(self.id(), signature, arguments)
    }

    fn encode_deployment(&self, contract: &str, arguments: &BTreeMap<String, String>) -> Result<Bytes, ChainError> {
        NewCredits::encode(contract, arguments)
    }

    fn needs_contract(&self) -> bool {
        false
    }

    fn keeps_old_states(&self) -> bool {
        // Its RPC answers as of a commitment, not as of a block.
        false
    }

    async fn read_anchor(&self, _: &str, log_id: &[u8; 32]) -> Result<Option<AnchoredHead>, ChainError> {
        Ok(self.newest_anchor(log_id).await?.as_ref().map(AnchoredHead::of))
    }

    async fn verify_inclusion(&self, _: &str, claim: &InclusionClaim) -> Result<bool, ChainError> {
        let newest = self.newest_anchor(&claim.log_id).await?;
        Ok(newest.is_some_and(|newest| claim.is_in(&newest)))
    }

    fn canonical_filter(&self, filter: &EventFilter) -> Result<EventFilter, ChainError> {
        Watched::parse(filter).map(|watched| watched.filter())
    }

    async fn events(&self, filter: &EventFilter, from: u64, to: u64) -> Result<Vec<EmittedEvent>, ChainError> {
        self.emitted(&Watched::parse(filter)?, from, to).await
    }
}

fn chain_of(genesis: &str) -> Result<ChainId, ChainError> {
    let reference = genesis.get(..REFERENCE_LEN).ok_or_else(|| malformed("the first block's hash", genesis))?;
    format!("solana:{reference}").parse().map_err(|_| malformed("the first block's hash", genesis))
}

pub(crate) fn address(what: &'static str, text: &str) -> Result<Pubkey, ChainError> {
    let refused = || ChainError::Rejected { reason: format!("{what} {text:?} is not 32 bytes in base58") };
    text.parse().map_err(|_| refused())
}

pub(crate) fn malformed(what: &'static str, reason: &str) -> ChainError {
    ChainError::Malformed { what, reason: reason.to_owned() }
}

fn rejected(reason: &str) -> ChainError {
    ChainError::Rejected { reason: reason.to_owned() }
}

const fn default_units_max() -> u32 {
    400_000
}
