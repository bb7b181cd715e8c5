//! The receipt log: each settled step leaves exactly one receipt, and all receipts of a project form one Merkle log.
//!
//! A step's transaction writes its leaf with [`append_pending`]: the leaf under its hold, and a row that sorts in
//! commit order. The log's entity, [`ReceiptLog`], moves pending leaves into the log in batches, each in one
//! transaction with the tree's hashes and a signed checkpoint. Reading and proving need the store alone.

mod entity;
mod identity;
mod pending;
mod read;
mod records;
mod sequencer;
mod tiles;

pub use entity::{LogHead, ReceiptLog, ReceiptLogEnvironment, ReceiptLogEvent, ReceiptLogRequest, ReceiptLogResponse};
pub use identity::LogIdentity;
pub use pending::{WaitingReceipts, append_pending, direct_call_session, waiting};
pub use read::{
    AnchoredRoot, ListRequest, ProveUnder, Proven, Receipt, ReceiptError, ReceiptList, anchors, consistency, get,
    grown_to, head, list, newest_anchor, newest_anchor_on, prove, record_anchor, root, settled,
};
pub use records::{decode_leaf, leaves};
pub use sequencer::{Batch, Edge, Head, sequence};

#[cfg(test)]
mod tests;
