//! What a node's words mean: nodes tell most things apart in text only. Decides nothing.

use std::error::Error;
use std::time::Duration;

use alloy::transports::{TransportError, TransportErrorKind};
use steward_adapters::chain::Broadcast;
use steward_adapters::endpoint::AnswerTooLong;

use crate::artifact;

/// Error codes that say that the endpoint did not serve, not that the chain refuses: EIP-1474's (section "Error codes") for
/// what is no JSON, no request, no method, an error of its own, missing, away, not supported and of another version. Providers
/// give the second to a key that they do not know.
const PROVIDERS_FAULTS: [i64; 8] = [-32700, -32600, -32601, -32603, -32001, -32002, -32004, -32006];
/// Error codes that say that the endpoint was asked too often: EIP-1474's, and HTTP's where a provider repeats it.
const THROTTLES: [i64; 2] = [-32005, 429];
const TOO_MANY_REQUESTS: u16 = 429;

/// What an error of the transport means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The node itself says no.
    Refused(String),
    /// The node does not have the block that was asked for: not yet, or its state no more.
    Behind,
    /// The endpoint was asked too often.
    Throttled {
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
        /// What it said.
        reason: String,
    },
    /// The endpoint gives no answer so long; with what it said.
    TooMany(String),
    /// The endpoint did not end its answer.
    TooLong(AnswerTooLong),
    /// The endpoint did not serve it.
    Unserved,
}

/// Reads an error.
pub(super) fn failure(error: &TransportError) -> Failure {
    if let Some(kind) = error.as_transport_err() {
        if let TransportErrorKind::Custom(cause) = kind
            && let Some(endless) = cause.downcast_ref::<AnswerTooLong>()
        {
            return Failure::TooLong(*endless);
        }
        let retry_after = kind.retry_after();
        return match kind.as_http_error() {
            Some(http) if http.status == TOO_MANY_REQUESTS || retry_after.is_some() => {
                Failure::Throttled { retry_after, reason: shown(&http.to_string()) }
            }
            _ => Failure::Unserved,
        };
    }
    let Some(payload) = error.as_error_resp() else { return Failure::Unserved };
    let message = payload.message.to_string();
    let lower = message.to_ascii_lowercase();
    // A contract may say anything when it reverts.
    if lower.contains("revert") {
        let said = payload.as_revert_data().and_then(|data| artifact::error_in_words(&data));
        Failure::Refused(said.map_or(message, |said| format!("execution reverted: {said}")))
    } else if says(&lower, &BEHIND) {
        Failure::Behind
    } else if says(&lower, &TOO_MANY) {
        Failure::TooMany(shown(&message))
    } else if THROTTLES.contains(&payload.code) {
        Failure::Throttled { retry_after: None, reason: shown(&message) }
    } else if PROVIDERS_FAULTS.contains(&payload.code) {
        Failure::Unserved
    } else {
        Failure::Refused(message)
    }
}

/// What the node itself says against a call; nothing when the endpoint failed to serve it.
pub(super) fn refusal(error: &TransportError) -> Option<String> {
    match failure(error) {
        Failure::Refused(reason) => Some(reason),
        Failure::Behind | Failure::Throttled { .. } | Failure::TooMany(_) | Failure::TooLong(_) | Failure::Unserved => {
            None
        }
    }
}

/// The error without the endpoint's address, which may hold a provider's key and would end up in logs.
pub(super) fn without_address(error: TransportError) -> Box<dyn Error + Send + Sync> {
    match error {
        TransportError::Transport(TransportErrorKind::Custom(cause)) => match cause.downcast::<reqwest::Error>() {
            Ok(failure) => Box::new(failure.without_url()),
            Err(cause) => cause,
        },
        other => Box::new(other),
    }
}

/// How a node took a transaction that it answered with an error.
pub(super) fn classify(reason: String) -> Broadcast {
    let lower = reason.to_ascii_lowercase();
    if says(&lower, &KNOWN) {
        Broadcast::Accepted
    } else if says(&lower, &USED) {
        Broadcast::SequenceUsed
    } else if says(&lower, &UNDERPRICED) {
        Broadcast::Underpriced
    } else {
        Broadcast::Refused { reason }
    }
}

// The words of geth first, then those of nethermind, erigon, besu, reth and anvil.
const KNOWN: [&str; 4] = ["already known", "already imported", "known transaction", "already in"];
const USED: [&str; 4] = ["nonce too low", "nonce is too low", "old nonce", "nonce too old"];
const UNDERPRICED: [&str; 2] = ["underpriced", "fee too low to replace"];
const BEHIND: [&str; 10] = [
    "header not found",
    "block not found",
    "unknown block",
    "cannot find block",
    "blockoutofrange",
    "block height is",
    "missing trie node",
    "historical state",
    "due to pruning",
    "beyond current head",
];

/// Of logs: the words of Infura, Alchemy, QuickNode, Ankr, reth, Erigon and those who sit before them. Some come under the
/// code of a throttle, and asking later helps nobody then.
const TOO_MANY: [&str; 8] = [
    "query returned more than",
    "response size exceeded",
    "response size should not",
    "block range",
    "blocks range",
    "range is too large",
    "query exceeds max",
    "too many results",
];

fn says(lower: &str, words: &[&str]) -> bool {
    words.iter().any(|words| lower.contains(words))
}

fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}
