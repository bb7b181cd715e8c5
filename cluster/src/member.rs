//! Membership: the nodes of a cluster, kept alive in the store, and what each does about the others.
//!
//! There is no leader. Each node beats, listens to some others, and takes what the placement gives to it; the store's
//! transactions decide between two that want the same.

pub mod cluster;
pub mod error;
pub mod hooks;
pub mod record;
pub mod snapshot;
pub mod timing;

mod beat;
mod node;
mod reconcile;
mod register;
mod silence;

pub use cluster::{Cluster, ClusterConfig, NodeIdentity};
pub use error::ClusterError;
pub use hooks::ShardHooks;
pub use record::{NodeRecord, NodeState};
pub use snapshot::{MemberSnapshot, ShardSnapshot};
pub use timing::ClusterTiming;
