//! The `Chain` port: what an outbox needs of a public chain, in words that fit any of them.
//!
//! An implementation never decides to send: it signs when asked, broadcasts the bytes it is given, and says what it
//! sees. It keeps no counter of its own; the outbox owns the sequence numbers.

mod account;
mod action;
mod call;
mod error;
mod events;
mod id;
mod transaction;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::account::{AccountId, AccountIdError, local_address, read_address, read_asset, read_filter};
pub use self::action::{Action, AnchorPoint, AnchoredHead, InclusionClaim};
pub use self::call::ContractCall;
pub use self::error::ChainError;
pub use self::events::{EmittedEvent, EventFilter, EventId, check_covers};
pub use self::id::{ChainId, ChainIdError};
pub use self::transaction::{Broadcast, Inclusion, SignedTransaction, TransactionStatus};
use crate::fee::{Fee, MarketFee};
pub use steward_types::{Amount, AmountError};

/// One account on one chain. Every call ends within `CHAIN_CALL_TIME_MAX`; dropping a call is safe, but a dropped
/// `broadcast` may have reached the chain.
#[async_trait]
pub trait Chain: Send + Sync + fmt::Debug + 'static {
    /// The chain's CAIP-2 identifier. The implementation checks that its endpoint is on this chain.
    fn id(&self) -> &ChainId;

    /// The address that signs, as the chain writes it.
    fn account(&self) -> &str;

    /// Whether the account's key can be reached, wherever it lies. Asks nothing of the chain.
    ///
    /// # Errors
    /// [`ChainError::Signer`], with what would keep it from signing.
    async fn check_signer(&self) -> Result<(), ChainError>;

    /// The hash of the chain's first block, which tells a chain that was reset from the one it was.
    async fn genesis(&self) -> Result<String, ChainError>;

    /// The newest block.
    async fn head(&self) -> Result<Head, ChainError>;

    /// The newest block that [`Consistency::Confirmed`] is about: no newer than the head, and no older than what is final.
    async fn confirmed_block(&self) -> Result<u64, ChainError> {
        Ok(self.head().await?.final_block)
    }

    /// The sequence number (nonce) that the account's next transaction needs, as seen with this consistency. `None` on
    /// a chain that counts no transactions: each of those stands alone there, and expires.
    async fn sequence(&self, at: Consistency) -> Result<Option<u64>, ChainError>;

    /// What transactions cost now.
    async fn market_fee(&self) -> Result<MarketFee, ChainError>;

    /// Signs a transaction; sends nothing. The same arguments may give other bytes another time (a gas estimate), so
    /// the bytes must be recorded before they are sent. Where the chain counts no transactions, `sequence` is a number of
    /// the caller's: with another one, the bytes differ whatever else is the same.
    async fn sign(&self, action: &Action, sequence: u64, fee: Fee) -> Result<SignedTransaction, ChainError>;

    /// Checks that the account has so much of the chain's own coin in the newest block. Only where a transaction that cannot
    /// be paid for blocks those after it; other chains drop one, and need not look.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when it has less.
    async fn check_funds(&self, needed: Amount) -> Result<(), ChainError> {
        let _ = needed;
        Ok(())
    }

    /// The last block that can have a transaction which is signed now; nothing where they never expire.
    async fn expiry(&self) -> Result<Option<u64>, ChainError> {
        Ok(None)
    }

    /// Hands signed bytes to the chain. Doing so again with the same bytes does no harm.
    async fn broadcast(&self, bytes: &[u8]) -> Result<Broadcast, ChainError>;

    /// What became of a transaction.
    async fn status(&self, transaction: &SignedTransaction) -> Result<TransactionStatus, ChainError>;

    /// How much of the chain's own coin, or of an asset (an ERC-20 contract, a denom, a mint), an account has.
    async fn balance(&self, account: &str, asset: Option<&str>, at: Consistency) -> Result<Amount, ChainError>;

    /// What a contract answers to a question that changes nothing. Input and answer are as the chain encodes them.
    async fn read(&self, contract: &str, input: &[u8], at: Consistency) -> Result<Bytes, ChainError>;

    /// The one way to write an address of this chain, so that two texts are one address only when they are equal. Asks nobody,
    /// so that what somebody made up costs no call.
    ///
    /// # Errors
    /// [`ChainError::Rejected`], with what an address should be.
    fn canonical_address(&self, address: &str) -> Result<String, ChainError>;

    /// The one way to write an asset; nothing when it is the chain's own coin. Asks nobody.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when it can name none.
    fn canonical_asset(&self, asset: &str) -> Result<Option<String>, ChainError> {
        self.canonical_address(asset).map(Some)
    }

    /// A contract's method as [`encode_call`](Self::encode_call) names it. Asks nobody.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when it can name none.
    fn canonical_method(&self, method: &str) -> Result<String, ChainError> {
        let reason = format!("{method:?} is no method: contracts of {} cannot be called", self.id());
        Err(ChainError::Rejected { reason })
    }

    /// Encodes a contract's call as people write it: a signature such as `transfer(address,uint256)` with an array of
    /// arguments, or where contracts take messages none, and the message. Asks nobody.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when the arguments do not fit, or the chain has no contracts that can be called so.
    fn encode_call(&self, signature: Option<&str>, arguments: &Value) -> Result<ContractCall, ChainError> {
        let _ = (signature, arguments);
        let reason = format!("contracts of {} cannot be called or read by name", self.id());
        Err(ChainError::Rejected { reason })
    }

    /// Reads a contract's answer: by the types after the signature's arguments, as in `balanceOf(address)(uint256)`, or
    /// as JSON. Whole numbers that may not fit 63 bits are decimal text.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when the answer is not of these types.
    fn decode_answer(&self, signature: Option<&str>, answer: &[u8]) -> Result<Value, ChainError> {
        let _ = (signature, answer);
        let reason = format!("answers of contracts of {} cannot be read by name", self.id());
        Err(ChainError::Rejected { reason })
    }

    /// What a contract of [`Action::Deploy`] is made with, as the chain encodes it: arguments by name, as text. Asks nobody.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when there is no such contract on this chain, or the arguments are not its own.
    fn encode_deployment(&self, contract: &str, arguments: &BTreeMap<String, String>) -> Result<Bytes, ChainError> {
        let _ = arguments;
        let reason = format!("there is no contract {contract:?} for {}, and nothing else to be made there", self.id());
        Err(ChainError::Rejected { reason })
    }

    /// Whether anchoring needs a contract. Where it does not, anchors are memos of this account's transactions: the
    /// contract is the empty string everywhere, and [`Action::DeployReceiptLog`] is refused.
    fn needs_contract(&self) -> bool;

    /// Whether an answer about a [`Consistency::Block`] is that block's. Where the chain keeps no old states it is of a
    /// later final block, so that two honest endpoints may differ for a moment.
    fn keeps_old_states(&self) -> bool {
        true
    }

    /// The newest anchor of a log of this account's in the contract, as of the newest block.
    async fn read_anchor(&self, contract: &str, log_id: &[u8; 32]) -> Result<Option<AnchoredHead>, ChainError>;

    /// Whether the leaf is in the anchored tree of a log of this account's: the contract says so, or the newest anchor
    /// where there is none.
    async fn verify_inclusion(&self, contract: &str, claim: &InclusionClaim) -> Result<bool, ChainError>;

    /// The one way to write a filter of events that the chain can have, so that two are the same only when they are equal.
    /// Asks nobody.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] says what is wrong with the filter, and what would be right.
    fn canonical_filter(&self, filter: &EventFilter) -> Result<EventFilter, ChainError>;

    /// Every event of the filter in the blocks `from..=to`, all of them final, in the chain's order; the same each time.
    ///
    /// # Errors
    /// [`ChainError::Behind`] when `to` is not final for the endpoint; [`ChainError::TooMany`] when fewer blocks must be
    /// asked for, but not for one block that a driver can answer about; [`ChainError::Rejected`] for a wrong filter.
    async fn events(&self, filter: &EventFilter, from: u64, to: u64) -> Result<Vec<EmittedEvent>, ChainError>;
}

/// The newest block that an endpoint knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number.
    pub block: u64,
    /// Its hash, as the chain writes it.
    pub hash: String,
    /// The newest block that counts as final.
    pub final_block: u64,
}

/// How settled an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// As of the newest block; a reorganisation may undo it.
    Latest,
    /// As of the newest block that the chain itself holds unlikely to be undone; where it has no word for that, as of the
    /// newest that counts as final.
    Confirmed,
    /// As of the newest block that counts as final.
    Final,
    /// As of this block, which the caller knows to be final, so that several endpoints can be asked the same question.
    /// A chain that keeps no old states answers as of a later final block. [`ChainError::Behind`] where the endpoint
    /// does not have the block.
    Block(u64),
}
