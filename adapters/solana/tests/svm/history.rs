//! Endpoints that lag, have forgotten, or lack a part of the chain's history: what they do not know is not taken for what
//! did not happen.

use std::ops::Range;

use serde_json::{Value, json};
use solana_signature::Signature;
use steward_adapters::chain::{Amount, Chain as _, ChainError, SignedTransaction, TransactionStatus};
use steward_adapters::fee::Fee;
use steward_types::limits::{SOLANA_BLOCKS_LISTED_MAX, SOLANA_BLOCKS_NEAR, SOLANA_EXPIRY_MARGIN, SOLANA_LIFETIME};

use crate::endpoint::{Answer, asked};

/// A transaction that can land up to this block height.
const EXPIRES: u64 = 10_000;
/// The block whose hash it names.
const SIGNED: u64 = EXPIRES - SOLANA_LIFETIME - SOLANA_EXPIRY_MARGIN;
/// Three slots before this block have none, and so many more before the first one.
const SKIPPED_BEFORE: u64 = SIGNED + 50;
const SKIPPED: u64 = 5_000;
/// Not available for this slot.
const NO_SUCH_BLOCK: i64 = -32007;
/// The node is not as far as it must be to answer.
pub const TOO_OLD: i64 = -32016;

/// The slot of the block of this height.
pub fn slot_of(height: u64) -> u64 {
    height + SKIPPED + if height < SKIPPED_BEFORE { 0 } else { 3 }
}

/// The block's one transaction.
fn transaction_in(height: u64) -> Signature {
    let mut bytes = [2; 64];
    bytes[..8].copy_from_slice(&height.to_be_bytes());
    Signature::from(bytes)
}

/// A node that answers truly about what it has.
#[derive(Debug, Clone)]
pub struct Node {
    /// The height of its newest final block.
    pub finalized: u64,
    /// The slot as of which it looks for transactions.
    pub looks_at: u64,
    /// The heights of the blocks that it does not have.
    pub lacks: Range<u64>,
    /// The heights of the blocks whose transactions it does not find.
    pub forgot: Range<u64>,
}

impl Node {
    /// One that has everything up to the block in which the transaction expires.
    pub fn whole() -> Self {
        Self { finalized: EXPIRES, looks_at: slot_of(EXPIRES) + 31, lacks: 0..0, forgot: 0..0 }
    }

    fn has(&self, height: u64) -> bool {
        height <= self.finalized && !self.lacks.contains(&height)
    }

    pub fn answer(&self, method: &str, parameters: &Value) -> Answer {
        match method {
            "getSignatureStatuses" => Ok(self.statuses(&parameters[0])),
            "getEpochInfo" => Ok(json!({
                "epoch": 1, "slotIndex": 1, "slotsInEpoch": 432_000, "transactionCount": 1,
                "absoluteSlot": slot_of(self.finalized), "blockHeight": self.finalized,
            })),
            "getBlocksWithLimit" => self.blocks(parameters),
            "getBlock" => self.block(parameters),
            other => panic!("{other} is not asked for"),
        }
    }

    fn statuses(&self, signatures: &Value) -> Value {
        let status = |signature: &Value| {
            let signature: Signature = signature.as_str().unwrap().parse().unwrap();
            let height = u64::from_be_bytes(signature.as_ref()[..8].try_into().unwrap());
            let finds = signature == transaction_in(height) && self.has(height) && !self.forgot.contains(&height);
            finds.then(|| {
                json!({
                    "slot": slot_of(height), "confirmations": null, "status": { "Ok": null }, "err": null,
                    "confirmationStatus": "finalized",
                })
            })
        };
        let statuses: Vec<Option<Value>> = signatures.as_array().unwrap().iter().map(status).collect();
        json!({ "context": { "slot": self.looks_at }, "value": statuses })
    }

    fn blocks(&self, parameters: &Value) -> Answer {
        let (from, most) = (parameters[0].as_u64().unwrap(), parameters[1].as_u64().unwrap());
        assert_eq!(parameters[2]["commitment"], "finalized");
        if parameters[2]["minContextSlot"].as_u64() > Some(slot_of(self.finalized)) {
            return Err(TOO_OLD);
        }
        let all = (0..=self.finalized).filter(|height| self.has(*height)).map(slot_of);
        Ok(all.filter(|slot| *slot >= from).take(usize::try_from(most).unwrap()).collect())
    }

    fn block(&self, parameters: &Value) -> Answer {
        let slot = parameters[0].as_u64().unwrap();
        let height = (0..=self.finalized).find(|height| slot_of(*height) == slot && self.has(*height));
        let height = height.ok_or(NO_SUCH_BLOCK)?;
        let mut block = json!({
            "previousBlockhash": "1", "blockhash": "1", "parentSlot": slot_of(height.saturating_sub(1)), "blockTime": null,
            "blockHeight": height,
        });
        if parameters[1]["transactionDetails"] == "signatures" {
            block["signatures"] = json!([transaction_in(height).to_string()]);
        }
        Ok(block)
    }
}

/// What the driver makes of a transaction that the node does not know.
async fn status(node: Node) -> Result<TransactionStatus, ChainError> {
    let transaction = SignedTransaction {
        bytes: Vec::new().into(),
        hash: Signature::from([1; 64]).to_string(),
        sequence: 0,
        expires: Some(EXPIRES),
        fee: Fee::default(),
        fee_max: None,
        deposit: Amount::ZERO,
        creates: None,
    };
    asked(|method, parameters| node.answer(method, parameters), async |chain| chain.status(&transaction).await).await
}

async fn is_expired(node: Node) {
    let told = status(node.clone()).await;
    assert!(matches!(told, Ok(TransactionStatus::Expired)), "{node:?}: {told:?}");
}

async fn is_not_believed(node: Node) {
    let told = status(node.clone()).await;
    assert!(matches!(told, Err(ChainError::Unavailable { .. })), "{node:?}: {told:?}");
}

#[tokio::test]
async fn a_transaction_has_expired_only_when_its_last_block_is_final() {
    is_expired(Node::whole()).await;
    let too_early = Node { finalized: EXPIRES - 1, ..Node::whole() };
    assert_eq!(status(too_early).await.unwrap(), TransactionStatus::Unknown);
    let lagging = status(Node { looks_at: slot_of(EXPIRES) - 1, ..Node::whole() }).await.unwrap_err();
    assert!(matches!(lagging, ChainError::Behind { block, .. } if block == slot_of(EXPIRES)), "{lagging}");
}

#[tokio::test]
async fn a_transaction_has_expired_only_where_no_block_that_could_have_it_is_missing() {
    is_expired(Node { lacks: 0..SIGNED, ..Node::whole() }).await;
    is_expired(Node { lacks: SIGNED - 30..SIGNED, ..Node::whole() }).await;
    is_not_believed(Node { lacks: 0..SIGNED + 1, ..Node::whole() }).await;
    // Booted from a newer snapshot, it kept its old blocks: the oldest one says nothing of those in between.
    is_not_believed(Node { lacks: SIGNED + 1..SIGNED + 2, ..Node::whole() }).await;
    is_not_believed(Node { lacks: SIGNED + 20..EXPIRES - 20, ..Node::whole() }).await;
    is_not_believed(Node { lacks: SIGNED - 2_000..EXPIRES, ..Node::whole() }).await;
    is_not_believed(Node { lacks: EXPIRES - 1..EXPIRES, ..Node::whole() }).await;
}

#[tokio::test]
async fn a_transaction_has_expired_only_where_the_transactions_of_its_time_are_found() {
    // As a node whose archive does not answer, or one behind the same address that has forgotten.
    is_not_believed(Node { forgot: 0..SIGNED + 100, ..Node::whole() }).await;
    is_not_believed(Node { forgot: SIGNED + 100..EXPIRES + 1, ..Node::whole() }).await;
}

#[tokio::test]
async fn a_transaction_has_expired_however_long_ago_it_was() {
    for later in [SOLANA_BLOCKS_NEAR, SOLANA_BLOCKS_NEAR + 1, SOLANA_BLOCKS_LISTED_MAX] {
        let finalized = EXPIRES + later;
        let late = Node { finalized, looks_at: slot_of(finalized) + 31, ..Node::whole() };
        is_expired(late.clone()).await;
        is_not_believed(Node { lacks: SIGNED + 9..SIGNED + 10, ..late }).await;
    }
}
