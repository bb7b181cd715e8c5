//! Signed transactions, how a chain takes them, and what becomes of them. Plain values, stored with the outbox.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::chain::Amount;
use crate::fee::Fee;

/// A transaction that can be sent any number of times and lands at most once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// What is sent.
    pub bytes: Bytes,
    /// Its hash, as the chain writes it.
    pub hash: String,
    /// The account's sequence number that it uses up, or the caller's number that tells it from its likes.
    pub sequence: u64,
    /// The last block that can have it; nothing when it never expires.
    #[serde(default)]
    pub expires: Option<u64>,
    /// The fee that it offers.
    pub fee: Fee,
    /// The most that the chain can take for it besides what it pays to others, fee and deposit, in the smallest unit of
    /// the coin that fees are paid in.
    #[serde(default)]
    pub fee_max: Option<Amount>,
    /// The part of it that pays no work but lies on the chain afterwards, as the deposit of an account that it makes does.
    #[serde(default)]
    pub deposit: Amount,
    /// The address of the contract that it creates.
    pub creates: Option<String>,
}

/// How the chain took a broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broadcast {
    /// It waits to be included, now or already before.
    Accepted,
    /// Its sequence number is used up: by itself, by a replacement or by a stranger.
    SequenceUsed,
    /// Another transaction with this sequence number offers more.
    Underpriced,
    /// The endpoint did not take it; it may another time.
    Refused {
        /// What the endpoint said.
        reason: String,
    },
}

/// What became of a transaction, as far as the endpoint knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionStatus {
    /// The endpoint does not know it, and it may still land.
    Unknown,
    /// It waits to be included.
    Pending,
    /// It is in a block.
    Included(Inclusion),
    /// Another transaction used its sequence number.
    Replaced {
        /// Whether that is final, so that this one can never land.
        is_final: bool,
    },
    /// The last block that can have it is final, and neither that one nor one before it does: it can never land.
    Expired,
}

impl TransactionStatus {
    /// The same with this fee, where it landed: for chains that take what was offered.
    #[must_use]
    pub fn with_fee(self, fee: Option<Amount>) -> Self {
        match self {
            Self::Included(inclusion) => Self::Included(Inclusion { fee, ..inclusion }),
            other => other,
        }
    }
}

/// Where a transaction landed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Inclusion {
    /// The block's number.
    pub block: u64,
    /// The block's hash, as the chain writes it.
    pub block_hash: String,
    /// Whether it did what it was to do; false when the contract refused it.
    pub succeeded: bool,
    /// Whether the block counts as final.
    pub is_final: bool,
    /// What the chain took as its fee, in the smallest unit of the coin that fees are paid in.
    #[serde(default)]
    pub fee: Option<Amount>,
}
