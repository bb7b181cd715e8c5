//! The Store port: FoundationDB's transaction model over ordered byte keys.
//!
//! Here are the traits, the record encoding, the retry loop, an in-memory store and the conformance suite that every
//! driver runs. Nothing here knows of actors, and no actor knows which store it runs on.

pub mod conformance;
pub mod error;
pub mod faults;
pub mod key;
pub mod memory;
pub mod optimistic;
pub mod record;
pub mod retry;
pub mod store;

pub use error::{StoreError, TransactionError};
pub use key::Subspace;
pub use memory::MemoryStore;
pub use optimistic::Watch;
pub use record::{Record, Scanned};
pub use retry::{StoreExt, run, run_idempotent};
pub use store::{
    AtomicOp, CommitVersion, ConflictRange, Isolation, Page, RangeRead, Store, StoreCondition, Transaction, Txn,
    Versionstamp,
};
