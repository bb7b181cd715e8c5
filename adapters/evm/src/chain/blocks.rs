//! Which block an answer is about: the newest, one that is unlikely to be undone, one that counts as final.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{B256, U64};
use alloy::providers::Provider;
use serde::Deserialize;
use steward_adapters::chain::{ChainError, Consistency};

use super::reply::{Failure, failure};
use super::{EvmChain, malformed};

/// What tells that a block is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// The blocks on it are counted: [`confirmations`](super::EvmConfig::confirmations).
    Counted,
    /// The chain's own consensus says so: the block tag `finalized`. A chain that has no such block is unavailable.
    Tagged,
}

/// A block or a header, of whatever chain.
#[derive(Debug, Deserialize)]
struct Hashed {
    hash: B256,
}

impl EvmChain {
    /// The hash of the chain's first block, asked for by its number: the tag `earliest` is the oldest block that a node has
    /// kept, and moves as it forgets (geth since history expiry, reth). Such nodes keep headers.
    pub(super) async fn first_block(&self) -> Result<B256, ChainError> {
        let client = self.provider.client();
        let block: Result<Option<Hashed>, _> = client.request("eth_getBlockByNumber", (U64::ZERO, false)).await;
        match block {
            Ok(Some(block)) => return Ok(block.hash),
            Err(error) if !matches!(failure(&error), Failure::Refused(_) | Failure::Behind) => {
                return Err(self.unserved(error));
            }
            Ok(None) | Err(_) => {}
        }
        let header: Result<Option<Hashed>, _> = client.request("eth_getHeaderByNumber", (U64::ZERO,)).await;
        let lacks = "it has forgotten the chain's first block: use one that keeps at least its header";
        header.ok().flatten().map(|header| header.hash).ok_or_else(|| self.lacks(lacks.to_owned()))
    }

    pub(super) async fn block_number(&self) -> Result<u64, ChainError> {
        self.provider.get_block_number().await.map_err(|error| self.unserved(error))
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
