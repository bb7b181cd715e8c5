//! The receipt log: each settled step leaves exactly one receipt, and all receipts of a project form one Merkle log.
//!
//! A step's transaction writes its leaf with [`append_pending`]: the leaf under its hold, and a row that sorts in
//! commit order. The log's entity moves pending leaves into the log in batches, each in one transaction.

mod pending;
mod records;

pub use pending::{append_pending, direct_call_session};
pub use records::{decode_leaf, leaves};
