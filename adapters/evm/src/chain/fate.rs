//! What became of a transaction. The rule that keeps anything from being paid twice: that another one used its number for good
//! is said only of a number that was used up in a block which was read whole, and in which it is not.
//!
//! Behind one address there may be several nodes, of which one is behind, and a node may have forgotten what it had. So it means
//! nothing that a transaction is not found.

use alloy::consensus::Transaction;
use alloy::eips::BlockId;
use alloy::primitives::{B256, U64, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::SolCall;
use serde::Deserialize;
use steward_adapters::chain::{Amount, ChainError, Inclusion, SignedTransaction, TransactionStatus};

use super::{EvmChain, malformed};
use crate::contract::Erc20;

/// What a payment of the chain's own coin to a plain account takes.
const PLAIN_TRANSFER_GAS: u64 = 21_000;

/// How much longer each step back is than the one before, when the block is looked for in which a number was used up.
const STEP_GROWTH: u64 = 16;

/// A receipt, with what rollups say besides.
#[derive(Debug, Deserialize)]
struct Receipt {
    #[serde(flatten)]
    ours: TransactionReceipt,
    /// What a rollup of the OP stack took for the bytes on the chain below it, beside the gas.
    #[serde(rename = "l1Fee")]
    l1_fee: Option<U256>,
}

/// The transactions of a block, of whatever type.
#[derive(Debug, Deserialize)]
struct BlockHashes {
    transactions: Vec<B256>,
}

impl EvmChain {
    pub(super) async fn fate(&self, transaction: &SignedTransaction) -> Result<TransactionStatus, ChainError> {
        let SignedTransaction { hash, sequence, .. } = transaction;
        let hash: B256 = hash.parse().map_err(|_| malformed("the transaction's hash", hash))?;
        if let Some(inclusion) = self.inclusion(hash).await? {
            return Ok(TransactionStatus::Included(inclusion));
        }
        let known = self.provider.get_transaction_by_hash(hash).await.map_err(|error| self.unserved(error))?;
        match known.map(|known| known.block_number) {
            Some(None) => return Ok(TransactionStatus::Pending),
            Some(Some(block)) => return self.landed(hash, block).await,
            None => {}
        }
        let final_block = self.final_block(self.block_number().await?).await?;
        if self.sequence_at(BlockId::number(final_block)).await? > *sequence {
            let block = self.used_up_in(*sequence, final_block).await?;
            return match self.has(block, hash).await? {
                true => self.landed(hash, block).await,
                false => Ok(TransactionStatus::Replaced { is_final: true }),
            };
        }
        if self.sequence_at(BlockId::latest()).await? <= *sequence {
            return Ok(TransactionStatus::Unknown);
        }
        // It may have landed between the questions; another's use of the number is not final yet in any case.
        Ok(match self.inclusion(hash).await? {
            Some(inclusion) => TransactionStatus::Included(inclusion),
            None => TransactionStatus::Replaced { is_final: false },
        })
    }

    /// What became of a transaction that is in this block.
    async fn landed(&self, hash: B256, block: u64) -> Result<TransactionStatus, ChainError> {
        let lacks = || {
            self.lacks(format!(
                "it has no receipt of the transaction {hash} in block {block}: use one that keeps receipts"
            ))
        };
        self.inclusion(hash).await?.map(TransactionStatus::Included).ok_or_else(lacks)
    }

    /// The block in which the account used up a number, which it had in `last`: looked for backwards in steps that grow fast,
    /// then by bisection. A way of a million blocks takes some 26 questions, which is what a call has time for.
    async fn used_up_in(&self, sequence: u64, last: u64) -> Result<u64, ChainError> {
        let is_used = async |block| self.sequence_at(BlockId::number(block)).await.map(|next| next > sequence);
        let (mut used, mut step) = (last, 1);
        let mut unused = loop {
            let Some(before) = used.checked_sub(1) else {
                return Err(self.lacks(format!("it says that the number {sequence} was used in the first block")));
            };
            let block = before.saturating_sub(step - 1);
            if !is_used(block).await? {
                break block;
            }
            (used, step) = (block, step.saturating_mul(STEP_GROWTH));
        };
        while used - unused > 1 {
            let middle = unused + (used - unused) / 2;
            if is_used(middle).await? {
                used = middle;
            } else {
                unused = middle;
            }
        }
        Ok(used)
    }

    /// Whether a block has this transaction.
    async fn has(&self, block: u64, hash: B256) -> Result<bool, ChainError> {
        let found = self.provider.client().request("eth_getBlockByNumber", (U64::from(block), false)).await;
        let found: Option<BlockHashes> = found.map_err(|error| self.unserved(error))?;
        let none = ChainError::Behind { chain: self.config.chain.clone(), block };
        found.map(|found| found.transactions.contains(&hash)).ok_or(none)
    }

    async fn inclusion(&self, hash: B256) -> Result<Option<Inclusion>, ChainError> {
        let found = self.provider.client().request("eth_getTransactionReceipt", (hash,)).await;
        let found: Option<Receipt> = found.map_err(|error| self.unserved(error))?;
        let Some(Receipt { ours: receipt, l1_fee }) = found else { return Ok(None) };
        let (Some(block), Some(block_hash)) = (receipt.block_number, receipt.block_hash) else { return Ok(None) };
        let is_final = block <= self.final_block(self.block_number().await?).await?;
        let succeeded = receipt.status() && !self.is_unpaid_transfer(hash, &receipt).await?;
        let fee = u128::from(receipt.gas_used).checked_mul(receipt.effective_gas_price);
        let l1_fee = u128::try_from(l1_fee.unwrap_or_default()).ok();
        let fee = fee.zip(l1_fee).and_then(|(fee, l1_fee)| fee.checked_add(l1_fee)).map(Amount::new);
        Ok(Some(Inclusion { block, block_hash: block_hash.to_string(), succeeded, is_final, fee }))
    }

    /// Whether this was a token's transfer that moved nothing: every transfer must say so in an event (EIP-20), and a
    /// token that answers false instead of failing emits none.
    async fn is_unpaid_transfer(&self, hash: B256, receipt: &TransactionReceipt) -> Result<bool, ChainError> {
        if !receipt.logs().is_empty() || receipt.gas_used <= PLAIN_TRANSFER_GAS {
            return Ok(false);
        }
        let transaction = self.provider.get_transaction_by_hash(hash).await.map_err(|error| self.unserved(error))?;
        let transaction =
            transaction.ok_or_else(|| self.lacks(format!("it has the receipt of {hash} and not itself")))?;
        Ok(transaction.input().starts_with(&Erc20::transferCall::SELECTOR))
    }
}
