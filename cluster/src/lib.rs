//! Many nodes: who is a member, which node owns which shard under which lease, and the links between them.

pub mod link;
pub mod member;
mod members;
pub mod placement;
pub mod route;
pub mod seat;
pub mod shard;

pub use member::{Cluster, ClusterConfig, ClusterError, ClusterTiming, NodeIdentity, NodeState, ShardHooks};
pub use seat::{Seat, SeatError};
pub use shard::{Owner, ShardLease, ShardMap};
