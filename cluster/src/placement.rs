//! Where shards and replicas should be: pure functions of the members and what they carry. They read no clock and no
//! store, and give the same answer on every node that sees the same.

pub mod replicas;
pub mod shards;

pub use replicas::{DeviceLoad, Replica, ReplicaPlan, ReplicaWish, Unplaced, place_replicas};
pub use shards::{Member, Release, place};
