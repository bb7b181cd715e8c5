//! Why a chain does not answer, and who is at fault.

use std::time::Duration;

use steward_types::ErrorCode;
use thiserror::Error;

use super::ChainId;
use crate::endpoint::AnswerTooLong;
use crate::fee::FeeCapped;
use crate::signer::SignerError;

/// Why a chain did not answer, or not as asked.
#[derive(Debug, Error)]
pub enum ChainError {
    /// The endpoint cannot be reached, or failed, or was too slow.
    #[error("the chain {chain} cannot be reached")]
    Unavailable {
        /// The chain.
        chain: ChainId,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The endpoint asks to be left alone for a while: HTTP 429, or the code of JSON-RPC that says so.
    #[error("the endpoint of {chain} throttles: {reason}")]
    Throttled {
        /// The chain.
        chain: ChainId,
        /// How long it asks for; nothing when it does not say.
        retry_after: Option<Duration>,
        /// What it said.
        reason: String,
    },
    /// The endpoint sent more than is read of any answer.
    #[error("the endpoint of {chain} does not end its answer")]
    AnswerTooLong {
        /// The chain.
        chain: ChainId,
        /// How much is read.
        #[source]
        source: AnswerTooLong,
    },
    /// The endpoint does not have the block yet, or not any more.
    #[error("the endpoint of {chain} does not have block {block}, or its state no more")]
    Behind {
        /// The chain.
        chain: ChainId,
        /// The block that was asked for.
        block: u64,
    },
    /// Several endpoints were asked, and not enough of them said the same.
    #[error("the endpoints of {chain} disagree on {what}")]
    Disputed {
        /// The chain.
        chain: ChainId,
        /// What was asked, and what each of them said.
        what: String,
    },
    /// The answer would be too long: ask about fewer blocks.
    #[error("too many events of {chain} at once: {reason}")]
    TooMany {
        /// The chain.
        chain: ChainId,
        /// How many there are, or may be.
        reason: String,
    },
    /// The endpoint is on another chain.
    #[error("the endpoint is on the chain {found} and not on {expected}")]
    WrongChain {
        /// The chain that was meant.
        expected: ChainId,
        /// The chain that the endpoint is on.
        found: ChainId,
    },
    /// The chain says that this cannot succeed.
    #[error("the chain refuses it: {reason}")]
    Rejected {
        /// What it said.
        reason: String,
    },
    /// An address, hash or reply is not what it should be.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The market asks more than the policy allows.
    #[error("the fee is capped")]
    FeeCapped(#[from] FeeCapped),
    /// The signer did not sign.
    #[error("the transaction could not be signed")]
    Signer(#[from] SignerError),
}

impl ChainError {
    /// Whether the endpoint is at fault, so that its breaker should count it.
    pub const fn is_endpoint_failure(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::Throttled { .. }
            | Self::AnswerTooLong { .. }
            | Self::Behind { .. }
            | Self::Disputed { .. }
            | Self::WrongChain { .. }
            | Self::Malformed { .. } => true,
            Self::Rejected { .. } | Self::TooMany { .. } | Self::FeeCapped(_) | Self::Signer(_) => false,
        }
    }

    /// The error with its causes, in one line.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// The code that it becomes at the edge.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable { .. }
            | Self::Throttled { .. }
            | Self::AnswerTooLong { .. }
            | Self::Behind { .. }
            | Self::Disputed { .. }
            | Self::TooMany { .. }
            | Self::WrongChain { .. }
            | Self::Malformed { .. } => ErrorCode::ChainUnavailable,
            Self::Rejected { .. } | Self::FeeCapped(_) => ErrorCode::ChainRejected,
            Self::Signer(failure) if failure.is_passing() => ErrorCode::ChainUnavailable,
            Self::Signer(_) => ErrorCode::ConfigInvalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_endpoint_garbled_is_not_the_askers_fault() {
        let garbled = ChainError::Malformed { what: "the balance", reason: "it is no number".to_owned() };
        assert!(garbled.is_endpoint_failure());
        assert_eq!(garbled.code(), ErrorCode::ChainUnavailable);
        let refused = ChainError::Rejected { reason: "it is no address".to_owned() };
        assert_eq!(refused.code(), ErrorCode::ChainRejected);
    }
}
