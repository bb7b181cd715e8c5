//! What goes into an outbox, what comes out of it, and why it may refuse: no part of them is stored.

use thiserror::Error;

use crate::chain::{Action, Amount, Broadcast, SignedTransaction, TransactionStatus};
use crate::fee::Fee;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Something is to be done once. A key that is known changes nothing.
    Submitted {
        /// The idempotency key.
        key: String,
        /// What is to be done.
        action: Action,
    },
    /// The chain said where it stands.
    Reconciled(Standing),
    /// A transaction was signed; it has not been sent.
    Signed {
        /// The intent's number.
        intent: u64,
        /// The transaction.
        transaction: SignedTransaction,
    },
    /// No transaction was signed.
    SignFailed {
        /// The intent's number.
        intent: u64,
        /// Why.
        reason: String,
        /// Whether it is the intent's own fault, such as a payment that the account cannot make, and no endpoint's or
        /// signer's, who fail all alike.
        is_own: bool,
    },
    /// A transaction was handed to the chain, or may have been.
    Broadcast {
        /// The intent's number.
        intent: u64,
        /// The transaction's hash.
        hash: String,
        /// How the chain took it, or why that is not known.
        result: Result<Broadcast, String>,
    },
    /// The chain said what became of an intent's transactions.
    Observed {
        /// The intent's number.
        intent: u64,
        /// What became of each, by hash.
        statuses: Vec<(String, TransactionStatus)>,
    },
    /// No endpoint has what tells the fate of an intent's transactions; nothing is known of them.
    Unseen {
        /// The intent's number.
        intent: u64,
        /// What is not there.
        reason: String,
    },
    /// The outcome was taken note of; the intent is forgotten.
    Acknowledged {
        /// The idempotency key.
        key: String,
    },
    /// The intent is not wanted any more. Only one that was never signed is forgotten.
    Withdrawn {
        /// The idempotency key.
        key: String,
    },
}

/// Where the chain stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Standing {
    /// The account's next sequence numbers; nothing on a chain that counts no transactions.
    pub sequences: Option<Sequences>,
    /// The hash of the chain's first block.
    pub genesis: String,
    /// The account that signs.
    pub account: String,
    /// What became of the final transaction that was asked after, if one was.
    pub settled: Option<TransactionStatus>,
}

/// An account's next sequence number, seen twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sequences {
    /// As of the newest block.
    pub latest: u64,
    /// As of the newest final block.
    pub finalized: u64,
}

/// What may be done to the world, once the state is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask where the chain stands: gives [`Event::Reconciled`].
    Reconcile {
        /// The newest final transaction, while it is looked after: is it final still?
        settled: Option<LookedAfter>,
    },
    /// Sign, send nothing: gives [`Event::Signed`] or [`Event::SignFailed`].
    Sign {
        /// The intent's number.
        intent: u64,
        /// What the transaction does.
        action: Action,
        /// The sequence number that it uses, or the intent's own where the chain has none.
        sequence: u64,
        /// The fee that it must outbid, when it replaces a transaction.
        replaces: Option<Fee>,
        /// What the account's other transactions that have not landed may take of the chain's own coin.
        reserved: Amount,
    },
    /// Hand signed bytes to the chain: gives [`Event::Broadcast`].
    Broadcast {
        /// The intent's number.
        intent: u64,
        /// What is sent.
        transaction: SignedTransaction,
    },
    /// Ask what became of an intent's transactions: gives [`Event::Observed`] or [`Event::Unseen`].
    Query {
        /// The intent's number.
        intent: u64,
        /// The transactions.
        transactions: Vec<SignedTransaction>,
    },
}

/// A transaction that was final. When the chain does not know it, the same bytes are handed to it again, if it is the chain
/// that took it: on another one they could be a payment that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookedAfter {
    /// The transaction.
    pub transaction: SignedTransaction,
    /// The hash of the first block of the chain that took it.
    pub genesis: String,
}

/// Why an event was refused. The state is unchanged.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum OutboxError {
    /// Too many intents are unfinished.
    #[error("the outbox holds {0} unfinished intents, its bound")]
    Full(usize),
    /// The event is about an intent that never was.
    #[error("the outbox never had an intent {0}")]
    NoIntent(u64),
    /// The transaction does not use the sequence number that it must use.
    #[error("intent {intent} was to be signed with the sequence number {expected} and not {found}")]
    Sequence {
        /// The intent's number.
        intent: u64,
        /// The sequence number that it must use.
        expected: u64,
        /// The sequence number of the transaction.
        found: u64,
    },
    /// The transaction could land beside another of its intent's.
    #[error("a transaction of intent {0} was signed that could land beside another one of it")]
    MayLandTwice(u64),
}
