//! What an endpoint has of the chain's history. About blocks that it has forgotten, or never had, an endpoint answers as if
//! nothing had happened in them. So that it does not know of something counts only where it shows that it has all of the
//! blocks that could tell, and looks into them.

use serde_json::json;
use solana_client::rpc_config::{RpcBlockConfig, RpcContextConfig};
use solana_client::rpc_request::RpcRequest;
use solana_commitment_config::CommitmentConfig;
use solana_signature::Signature;
use solana_transaction_status_client_types::{
    TransactionConfirmationStatus, TransactionDetails, TransactionStatus as Landed, UiConfirmedBlock,
};
use steward_adapters::chain::{ChainError, Inclusion, TransactionStatus};
use steward_types::limits::{
    SOLANA_BLOCKS_LISTED_MAX, SOLANA_BLOCKS_NEAR, SOLANA_BLOCKS_NEAR_STEPS_MAX, SOLANA_EXPIRY_MARGIN, SOLANA_LIFETIME,
    SOLANA_SKIPPED_SLOTS, SOLANA_WITNESSES_MAX,
};

use crate::chain::{SolanaChain, malformed};

/// Final blocks of which the endpoint has every one, by the first and the last of them.
#[derive(Debug)]
pub(crate) struct Span {
    first: Witnesses,
    last: Witnesses,
}

/// Some transactions of a block, from its begin to its end; none where it has none.
#[derive(Debug)]
struct Witnesses {
    slot: u64,
    signatures: Vec<Signature>,
}

impl SolanaChain {
    /// What the endpoint knows of a transaction.
    pub(crate) async fn found(&self, signature: &Signature) -> Result<Option<TransactionStatus>, ChainError> {
        let answer = self.statuses(&[*signature]).await?.1;
        self.told(answer.into_iter().next().flatten()).await
    }

    /// The same in one answer with transactions of the span's ends. Behind one address there may be several nodes, and a
    /// node whose archive does not answer says of every old transaction that there is none: whoever knows nothing of what is
    /// certainly there is not believed.
    pub(crate) async fn found_within(
        &self,
        signature: &Signature,
        span: &Span,
    ) -> Result<Option<TransactionStatus>, ChainError> {
        let Span { first, last } = span;
        let asked = [&first.signatures[..], &[*signature], &last.signatures[..]].concat();
        let (as_of, answer) = self.statuses(&asked).await?;
        if as_of < last.slot {
            return Err(ChainError::Behind { chain: self.config.chain.clone(), block: last.slot });
        }
        let (at_first, rest) = answer.split_at(first.signatures.len());
        let (ours, at_last) = rest.split_first().expect("there are as many answers as were asked for");
        if ours.is_some() {
            return self.told(ours.clone()).await;
        }
        for (slot, told) in [(first.slot, at_first), (last.slot, at_last)] {
            let is_known = told.iter().flatten().any(|status| status.slot == slot);
            if !is_known && !told.is_empty() {
                let reason =
                    format!("it does not find transactions of slot {slot} that are there: use one with an archive");
                return Err(self.endpoint.unavailable(reason));
            }
        }
        Ok(None)
    }

    /// The span in which a transaction that expires at this height must be if it landed, out of what is final up to this
    /// slot, whose block has this height. Nothing while not all of that is final.
    pub(crate) async fn lifetime(&self, expires: u64, slot: u64, height: u64) -> Result<Option<Span>, ChainError> {
        let signed = expires.saturating_sub(SOLANA_LIFETIME + SOLANA_EXPIRY_MARGIN);
        let (slot, height) = self.near(expires, slot, height).await?;
        let since = height - signed;
        let from = slot.saturating_sub(since.saturating_mul(2).saturating_add(SOLANA_SKIPPED_SLOTS));
        let mut blocks = self.final_blocks(from, slot - from + 1, None).await?;
        blocks.retain(|listed| *listed <= slot);
        let short = || {
            let reason = format!("its history does not reach back to block {signed}: use an endpoint with an archive");
            self.endpoint.unavailable(reason)
        };
        let last = *blocks.last().ok_or_else(short)?;
        // Where the list ends before the slot, so many blocks at most are not final.
        if height.saturating_sub(slot - last) < expires {
            return Ok(None);
        }
        // None is higher than `height`, so that so many in a row begin at `signed` or before.
        let in_a_row = usize::try_from(since + 1).unwrap_or(usize::MAX);
        let before = blocks.len().checked_sub(in_a_row).ok_or_else(short)?;
        blocks.drain(..before);
        let [begin, end] = self.ends(&blocks, TransactionDetails::Signatures).await?;
        Ok(Some(Span { first: witnesses(blocks[0], begin)?, last: witnesses(last, end)? }))
    }

    /// Checks that the endpoint has every final block in these slots.
    pub(crate) async fn check_has_all(&self, from: u64, to: u64) -> Result<(), ChainError> {
        let most = (to - from).saturating_add(2);
        if most > SOLANA_BLOCKS_LISTED_MAX {
            let reason = format!("{most} slots, and nodes list {SOLANA_BLOCKS_LISTED_MAX} blocks at once");
            return Err(ChainError::TooMany { chain: self.config.chain.clone(), reason });
        }
        let mut blocks = self.final_blocks(from, most, Some(to)).await?;
        let lacks = |what: String| self.endpoint.unavailable(format!("{what}: use an endpoint with an archive"));
        // The last slot may have no block: then the next one after it ends the row.
        let end = blocks.iter().position(|slot| *slot >= to);
        let end = end.ok_or_else(|| lacks(format!("it lists no final block in slot {to} or after it")))?;
        blocks.truncate(end + 1);
        let (first, last) = (blocks[0], blocks[end]);
        if first == from && last - first == end as u64 {
            return Ok(());
        }
        let [begin, _] = self.ends(&blocks, TransactionDetails::None).await?;
        // A cluster's first block may have any small number; nothing of an account is before it.
        if first > from.max(1) && begin.parent_slot >= from {
            return Err(lacks(format!("its history has a gap from slot {from} to slot {first}")));
        }
        Ok(())
    }

    /// The first and the last of these blocks, in the order of the chain, when none is missing between them: heights count
    /// blocks, where slots may have none.
    async fn ends(&self, blocks: &[u64], details: TransactionDetails) -> Result<[UiConfirmedBlock; 2], ChainError> {
        let (first, last) = (blocks[0], blocks[blocks.len() - 1]);
        let (begin, end) = tokio::try_join!(self.block(first, details), self.block(last, details))?;
        let between = blocks.len() as u64 - 1;
        if last - first == between || height(&end)?.checked_sub(height(&begin)?) == Some(between) {
            return Ok([begin, end]);
        }
        let reason = format!("its history has a gap between the slots {first} and {last}: use one with an archive");
        Err(self.endpoint.unavailable(reason))
    }

    /// A final block that is not long after a height, found from one that may be: its slot and its height. Each step goes
    /// back as many slots as blocks are between, which is never too far, since a slot has one block at most.
    async fn near(&self, expires: u64, mut slot: u64, mut height: u64) -> Result<(u64, u64), ChainError> {
        for _ in 0..SOLANA_BLOCKS_NEAR_STEPS_MAX {
            let after =
                height.checked_sub(expires).ok_or_else(|| malformed("the block's height", "it does not fit"))?;
            if after <= SOLANA_BLOCKS_NEAR {
                return Ok((slot, height));
            }
            let next = self.final_blocks(slot.saturating_sub(after), 1, None).await?;
            let lacks = || self.endpoint.unavailable(format!("it lists no blocks {after} slots before slot {slot}"));
            slot = *next.first().ok_or_else(lacks)?;
            height = self::height(&self.block(slot, TransactionDetails::None).await?)?;
        }
        Err(self.endpoint.unavailable(format!("it lists no blocks after block {expires}")))
    }

    /// The slots of the final blocks from a slot on, so many at most; as of this slot at least.
    async fn final_blocks(&self, from: u64, most: u64, as_of: Option<u64>) -> Result<Vec<u64>, ChainError> {
        let config = RpcContextConfig { commitment: Some(CommitmentConfig::finalized()), min_context_slot: as_of };
        let most = most.min(SOLANA_BLOCKS_LISTED_MAX);
        let call = self.endpoint.client().send(RpcRequest::GetBlocksWithLimit, json!([from, most, config]));
        let blocks: Vec<u64> = self.endpoint.ask(call).await?;
        if blocks.iter().all(|slot| *slot >= from) && blocks.is_sorted_by(|one, next| one < next) {
            return Ok(blocks);
        }
        Err(malformed("the list of blocks", "it is not in the order of the chain"))
    }

    async fn block(&self, slot: u64, details: TransactionDetails) -> Result<UiConfirmedBlock, ChainError> {
        let config = RpcBlockConfig {
            transaction_details: Some(details),
            rewards: Some(false),
            commitment: Some(CommitmentConfig::confirmed()),
            max_supported_transaction_version: Some(0),
            ..RpcBlockConfig::default()
        };
        self.endpoint.ask(self.endpoint.client().get_block_with_config(slot, config)).await
    }

    /// What the endpoint knows of transactions, in their order, and as of which slot.
    async fn statuses(&self, signatures: &[Signature]) -> Result<(u64, Vec<Option<Landed>>), ChainError> {
        let answer = self.endpoint.client().get_signature_statuses_with_history(signatures);
        let answer = self.endpoint.ask(answer).await?;
        if answer.value.len() != signatures.len() {
            return Err(malformed("the transactions' statuses", "they are not as many as were asked for"));
        }
        Ok((answer.context.slot, answer.value))
    }

    async fn told(&self, landed: Option<Landed>) -> Result<Option<TransactionStatus>, ChainError> {
        let Some(landed) = landed else { return Ok(None) };
        let level = landed.confirmation_status();
        if level == TransactionConfirmationStatus::Processed {
            return Ok(Some(TransactionStatus::Pending));
        }
        let block = self.block(landed.slot, TransactionDetails::None).await;
        Ok(Some(TransactionStatus::Included(Inclusion {
            block: landed.slot,
            block_hash: block.map(|block| block.blockhash).unwrap_or_default(),
            succeeded: landed.err.is_none(),
            is_final: level == TransactionConfirmationStatus::Finalized,
            fee: None,
        })))
    }
}

fn height(block: &UiConfirmedBlock) -> Result<u64, ChainError> {
    block.block_height.ok_or_else(|| malformed("the block", "it does not say its height"))
}

fn witnesses(slot: u64, block: UiConfirmedBlock) -> Result<Witnesses, ChainError> {
    let all = block.signatures.unwrap_or_default();
    let some = all.iter().step_by(all.len().div_ceil(SOLANA_WITNESSES_MAX).max(1));
    let parsed = some.map(|text| text.parse().map_err(|_| malformed("a transaction's signature", text)));
    Ok(Witnesses { slot, signatures: parsed.collect::<Result<_, _>>()? })
}
