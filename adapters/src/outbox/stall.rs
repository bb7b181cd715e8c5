//! Why an outbox sends nothing: the chain is not the one that it knows, or not where it was. Only edges make words of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why nothing is sent until the chain is what it was, or a person has looked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Stall {
    /// The chain's first block is another one: it was reset, or the endpoint is another chain's.
    ChainReset {
        /// The hash of the first block that this outbox knows.
        known: String,
        /// That which the chain has.
        found: String,
    },
    /// The key is another account's, while the one before it has transactions that may still land.
    OtherAccount {
        /// The account before.
        known: String,
        /// The account of the key.
        found: String,
    },
    /// The account's final sequence number went back.
    SequenceWentBack {
        /// The number that was last seen final.
        known: u64,
        /// What the chain says now.
        found: u64,
    },
    /// A reorganisation undid what was final.
    Undone {
        /// The transaction's hash.
        transaction: String,
        /// The number of the block that it was final in.
        block: u64,
        /// What became of it.
        since: Since,
    },
}

/// What became of a transaction that is not final any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// It is in a block that is not final.
    Included {
        /// The block's number.
        block: u64,
    },
    /// It waits for a block again.
    Waiting,
    /// The chain did not have it any more; the same bytes were sent again.
    Gone,
    /// Another transaction took its sequence number.
    Displaced,
    /// The last block that could have had it has passed.
    Expired,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChainReset { known, found } => {
                write!(f, "the chain was reset: its first block was {known} and is {found}")
            }
            Self::OtherAccount { known, found } => write!(
                f,
                "the key is {found}'s, and {known} has unfinished transactions: put its key back until they are"
            ),
            Self::SequenceWentBack { known, found } => {
                write!(f, "the account's final sequence number went back from {known} to {found}")
            }
            Self::Undone { transaction, block, since } => write!(
                f,
                "a reorganisation undid what was final: the transaction {transaction} of block {block} {since}"
            ),
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Included { block } => write!(f, "is in block {block}, which is not"),
            Self::Waiting => f.write_str("waits for a block again"),
            Self::Gone => f.write_str("is not there any more; the same bytes were sent again"),
            Self::Displaced => f.write_str("lost its sequence number to another"),
            Self::Expired => f.write_str("has expired"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::outbox::OutboxHead;

    #[test]
    fn each_reason_is_told_in_words_and_reads_back_as_it_was_stored() {
        let text = str::to_owned;
        let undone = |since| Stall::Undone { transaction: text("0xab"), block: 7, since };
        for (stall, words) in [
            (Stall::ChainReset { known: text("a"), found: text("b") }, "its first block was a and is b"),
            (Stall::OtherAccount { known: text("a"), found: text("b") }, "the key is b's, and a has unfinished"),
            (Stall::SequenceWentBack { known: 5, found: 4 }, "went back from 5 to 4"),
            (undone(Since::Included { block: 9 }), "the transaction 0xab of block 7 is in block 9, which is not"),
            (undone(Since::Waiting), "waits for a block again"),
            (undone(Since::Gone), "sent again"),
            (undone(Since::Displaced), "lost its sequence number"),
            (undone(Since::Expired), "has expired"),
        ] {
            assert!(stall.to_string().contains(words), "{stall}");
            let stored = serde_json::to_value(&stall).unwrap();
            assert_eq!(serde_json::from_value::<Stall>(stored).unwrap(), stall);
        }
    }

    #[test]
    fn a_head_that_was_stored_with_words_reads_back_without_them() {
        // The chain is asked where it stands before anything is sent, and says it again.
        let mut stored = serde_json::to_value(OutboxHead::default()).unwrap();
        stored["stalled"] = json!("the chain was reset");
        assert_eq!(serde_json::from_value::<OutboxHead>(stored).unwrap(), OutboxHead::default());
    }
}
