//! The embedded store: one process, one disk, strictly serializable transactions, group commit.
//!
//! One thread writes. It takes commits from a queue, validates each against those before it, and secures a whole
//! group with one sync. Reads run on the caller's thread against a snapshot of the last secured group, so that nobody
//! ever sees what a crash could take back.

mod backup;
mod disk;
mod store;
mod writer;

pub use backup::{BackupProgress, BackupSummary};
pub use store::{EmbeddedConfig, EmbeddedStore};
