//! What can go wrong between a chain in memory and who asks it.

use std::time::Duration;

/// What goes wrong until it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is answered and nothing arrives.
    Down,
    /// Nothing is answered, and nothing fails either: every call waits for ever.
    Hangs,
    /// Broadcasts arrive, but their answers are lost.
    RepliesLost,
    /// Broadcasts are accepted and thrown away.
    Swallows,
    /// Every call is throttled, for so long if that is said.
    Throttled(Option<Duration>),
    /// It is so many blocks behind.
    Behind(u64),
    /// Balances, sequence numbers, heads and fates are false, and the last of several events is left out.
    Lies,
    /// It says that the chain refuses whatever is to be signed.
    Refuses,
    /// The service that signs for the account does not answer.
    SignerAway,
}
