//! What became of a transaction. The rule that keeps anything from being paid twice: that another transaction took its
//! sequence number is said only when that other one is found in the index.
//!
//! A node's state, its pool and its index change one after the other, and behind one address there may be several nodes.
//! That the index lacks a transaction means nothing.

use steward_adapters::chain::{Broadcast, ChainError, Inclusion, TransactionStatus};

use crate::node::{Account, Check, Executed, Node};
use crate::rpc::RpcError;
use crate::transaction::{Reading, hash_of};

/// How many blocks a node's index may be behind its state before it is taken for broken.
const INDEX_LAG_BLOCKS_MAX: u64 = 20;
/// The SDK's codes for a broadcast (`types/errors/errors.go`).
const TX_IN_MEMPOOL_CACHE: u32 = 19;
const WRONG_SEQUENCE: u32 = 32;

/// What became of a transaction of this account.
pub async fn of(node: &Node, account: &str, hash: &[u8; 32], sequence: u64) -> Result<TransactionStatus, ChainError> {
    // One that failed may have failed before it used its number, and then it may come again: the number decides.
    if let Some(executed) = node.transaction(hash).await?.filter(|executed| executed.succeeded) {
        return included(node, &executed).await;
    }
    // In this order: what is in neither the pool nor, after that, the state, was in neither when we asked for the pool.
    let waits = node.pool_has(hash).await?;
    let next = node.account(account, None).await?.map_or(0, |account| account.sequence);
    if next <= sequence {
        return Ok(if waits { TransactionStatus::Pending } else { TransactionStatus::Unknown });
    }
    let users = users(node, account, sequence).await?;
    if let Some(ours) = users.iter().find(|executed| hash_of(&executed.bytes) == *hash) {
        return included(node, ours).await;
    }
    if !users.is_empty() {
        return Ok(TransactionStatus::Replaced { is_final: true });
    }
    check_index(node, account, sequence).await?;
    Ok(TransactionStatus::Pending)
}

/// How the chain took a broadcast of these bytes.
pub async fn of_broadcast(
    node: &Node,
    account: &str,
    bytes: &[u8],
    answer: Result<Check, RpcError>,
) -> Result<Broadcast, ChainError> {
    match answer {
        Ok(Check { code: 0, .. }) => Ok(Broadcast::Accepted),
        Ok(Check { code: TX_IN_MEMPOOL_CACHE, codespace, .. }) if codespace == "sdk" => Ok(Broadcast::Accepted),
        Ok(Check { code: WRONG_SEQUENCE, codespace, log }) if codespace == "sdk" => {
            let sequence = Reading::of(bytes)?.sequence.unwrap_or(0);
            let next = node.account(account, None).await?.map_or(0, |account| account.sequence);
            Ok(wrong_sequence(sequence, next, log))
        }
        Ok(Check { code, codespace, log }) => {
            Ok(Broadcast::Refused { reason: format!("{log} (code {code} of {codespace})") })
        }
        Err(RpcError::Refused { message }) if message.contains("already exists in cache") => Ok(Broadcast::Accepted),
        Err(RpcError::Refused { message }) if is_pools_refusal(&message) => Ok(Broadcast::Refused { reason: message }),
        Err(error) => Err(node.failed(error)),
    }
}

/// The sequence number that the application expects next, its pool counted in, from its own words about a wrong one.
pub fn expected_sequence(log: &str) -> Option<u64> {
    let (_, after) = log.split_once("account sequence mismatch, expected ")?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What a wrong sequence number means, given the one that the newest block leaves.
fn wrong_sequence(sequence: u64, next: u64, log: String) -> Broadcast {
    if next > sequence {
        Broadcast::SequenceUsed
    } else if expected_sequence(&log).is_some_and(|expected| expected > sequence) {
        // Another of ours waits in the pool with this number. The pool does not let itself be outbid.
        Broadcast::Underpriced
    } else {
        // The ones before it did not arrive yet.
        Broadcast::Refused { reason: log }
    }
}

/// CometBFT's words for what its pool does not take (`mempool/errors.go`).
fn is_pools_refusal(message: &str) -> bool {
    ["mempool is full", "still rechecking", "Tx too large", "tx pre check"].iter().any(|words| message.contains(words))
}

/// The transactions that used a sequence number of the account: one, or none while the index is behind.
async fn users(node: &Node, account: &str, sequence: u64) -> Result<Vec<Executed>, ChainError> {
    let page = node.search(&format!("tx.acc_seq='{account}/{sequence}'"), 1).await?;
    // One that is unordered has that event too and uses nothing.
    let used =
        |executed: &Executed| Reading::of(&executed.bytes).is_ok_and(|transaction| transaction.sequence.is_some());
    Ok(page.transactions.into_iter().filter(used).collect())
}

/// That the index lacks what used the number is no wonder just after it happened; later it can never be resolved.
async fn check_index(node: &Node, account: &str, sequence: u64) -> Result<(), ChainError> {
    let Some(before) = node.standing().await?.block.checked_sub(INDEX_LAG_BLOCKS_MAX).filter(|block| *block > 0) else {
        return Ok(());
    };
    // A node that keeps no state that old cannot tell us, and is given more time.
    match node.account(account, Some(before)).await {
        Ok(Some(Account { sequence: next, .. })) if next > sequence => Err(node.unavailable(
            "the node's index lacks the transaction that used our sequence number: use a node that keeps its index",
        )),
        Ok(_) | Err(ChainError::Behind { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn included(node: &Node, executed: &Executed) -> Result<TransactionStatus, ChainError> {
    let block_hash = node.block(executed.block).await?.hash;
    let (block, succeeded) = (executed.block, executed.succeeded);
    Ok(TransactionStatus::Included(Inclusion { block, block_hash, succeeded, is_final: true, fee: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_sequence_is_judged_by_the_newest_block_first() {
        let log = |expected: u64, got: u64| {
            format!("account sequence mismatch, expected {expected}, got {got}: incorrect account sequence")
        };
        let check = |sequence, next, expected, broadcast| {
            assert_eq!(
                wrong_sequence(sequence, next, log(expected, sequence)),
                broadcast,
                "{sequence} {next} {expected}"
            );
        };
        check(4, 5, 5, Broadcast::SequenceUsed);
        check(4, 4, 6, Broadcast::Underpriced);
        check(7, 5, 5, Broadcast::Refused { reason: log(5, 7) });
        let unclear = wrong_sequence(4, 4, "incorrect account sequence".to_owned());
        assert_eq!(unclear, Broadcast::Refused { reason: "incorrect account sequence".to_owned() });
    }
}
