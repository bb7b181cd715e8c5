//! Many nodes: who is a member, which node owns which shard under which lease, the links between them, and the models
//! that they have together.

pub mod introduction;
pub mod link;
pub mod member;
mod members;
pub mod models;
pub mod placement;
pub mod route;
pub mod seat;
pub mod shard;

pub use introduction::{Introduction, IntroductionError, StoreLocator, introduction};
pub use member::{Cluster, ClusterConfig, ClusterError, ClusterTiming, NodeIdentity, NodeState, ShardHooks};
pub use models::{ClusterModels, ModelParts};
pub use seat::{Seat, SeatError};
pub use shard::{Owner, ShardLease, ShardMap};
