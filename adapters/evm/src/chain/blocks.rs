//! Which block an answer is about: the newest, one that is unlikely to be undone, one that counts as final.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::providers::Provider;
use steward_adapters::chain::{ChainError, Consistency};

use super::{EvmChain, malformed};

/// What tells that a block is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// The blocks on it are counted: [`confirmations`](super::EvmConfig::confirmations).
    Counted,
    /// The chain's own consensus says so: the block tag `finalized`. A chain that has no such block is unavailable.
    Tagged,
}

impl EvmChain {
    pub(super) async fn block_number(&self) -> Result<u64, ChainError> {
        self.provider.get_block_number().await.map_err(|error| self.failed(error))
    }

    /// The newest block that counts as final, where `head` is the newest. What the chain's consensus is to say, and does
    /// not, is never counted in its place.
    pub(super) async fn final_block(&self, head: u64) -> Result<u64, ChainError> {
        if self.finality == Finality::Counted {
            return Ok(head.saturating_sub(self.config.confirmations.saturating_sub(1)));
        }
        self.tagged_block(BlockNumberOrTag::Finalized).await
    }

    /// The newest block that the chain's consensus calls safe; where blocks are counted, that which counts as final, for
    /// nothing else is known of the chain.
    pub(super) async fn newest_confirmed(&self) -> Result<u64, ChainError> {
        match self.finality {
            Finality::Counted => self.final_block(self.block_number().await?).await,
            Finality::Tagged => self.tagged_block(BlockNumberOrTag::Safe).await,
        }
    }

    async fn tagged_block(&self, tag: BlockNumberOrTag) -> Result<u64, ChainError> {
        let block = self.provider.get_block_by_number(tag).await.map_err(|error| self.unserved(error))?;
        let reason = || format!("the chain has no block of this tag: give confirmations as a number of blocks ({tag})");
        let none = || malformed("the block by its tag", &reason());
        Ok(block.ok_or_else(none)?.header.number)
    }

    /// The block that an answer is to be about.
    pub(super) async fn block_at(&self, at: Consistency) -> Result<BlockId, ChainError> {
        Ok(match at {
            Consistency::Latest => BlockId::latest(),
            Consistency::Confirmed => BlockId::number(self.newest_confirmed().await?),
            Consistency::Final => BlockId::number(self.final_block(self.block_number().await?).await?),
            Consistency::Block(block) => BlockId::number(block),
        })
    }
}
