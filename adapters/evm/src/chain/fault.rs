//! Whose fault a failed call is: the chain's own refusal, or an endpoint that did not serve.

use alloy::eips::BlockId;
use alloy::transports::TransportError;
use steward_adapters::chain::ChainError;

use super::EvmChain;
use super::reply::{Failure, failure, without_address};

impl EvmChain {
    /// What a failed call means.
    pub(super) fn failed(&self, error: TransportError) -> ChainError {
        let chain = self.config.chain.clone();
        match failure(&error) {
            Failure::Refused(reason) => ChainError::Rejected { reason },
            Failure::Throttled { retry_after, reason } => ChainError::Throttled { chain, retry_after, reason },
            Failure::TooMany(reason) => ChainError::TooMany { chain, reason },
            Failure::TooLong(source) => ChainError::AnswerTooLong { chain, source },
            Failure::Behind | Failure::Unserved => ChainError::Unavailable { chain, source: without_address(error) },
        }
    }

    /// The same for a call as of a certain block.
    pub(super) fn failed_at(&self, block: BlockId, error: TransportError) -> ChainError {
        self.behind(block, &error).unwrap_or_else(|| self.failed(error))
    }

    /// What a failed call means that a chain has no reason to refuse: the endpoint is at fault, whatever it says.
    pub(super) fn unserved(&self, error: TransportError) -> ChainError {
        match failure(&error) {
            Failure::Refused(_) => {
                ChainError::Unavailable { chain: self.config.chain.clone(), source: without_address(error) }
            }
            _ => self.failed(error),
        }
    }

    /// The same for a question as of a certain block.
    pub(super) fn unserved_at(&self, block: BlockId, error: TransportError) -> ChainError {
        self.behind(block, &error).unwrap_or_else(|| self.unserved(error))
    }

    fn behind(&self, block: BlockId, error: &TransportError) -> Option<ChainError> {
        let block = block.as_u64().filter(|_| failure(error) == Failure::Behind)?;
        Some(ChainError::Behind { chain: self.config.chain.clone(), block })
    }

    /// That an endpoint lacks something that the chain has.
    pub(super) fn lacks(&self, what: String) -> ChainError {
        ChainError::Unavailable { chain: self.config.chain.clone(), source: what.into() }
    }
}
