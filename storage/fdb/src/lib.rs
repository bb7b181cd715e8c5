//! The FoundationDB driver: Steward's transactions on a FoundationDB cluster, for clusters of Steward's own.
//!
//! The client library `libfdb_c` is loaded when a store is opened, so neither a build nor a start of the binary needs
//! it. A transaction keeps its writes here, as on every other store, and hands them over at its commit; FoundationDB
//! gives versions, reads, and decides on conflicts.

pub mod client;
pub mod cluster_file;
pub mod config;
pub mod devcluster;
mod failure;
mod settling;
pub mod store;
mod transaction;
mod watching;

pub use config::{FdbConfig, FdbOpenError};
pub use store::FdbStore;
