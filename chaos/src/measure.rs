//! Measurements on a cluster of real processes: how fast it fails over, whether it holds still when the machine is busy,
//! whether its nodes can be restarted under load, and how it takes over very many sessions.

pub mod failover;
pub mod load;
pub mod overload;
pub mod quantile;
pub mod recovery;
pub mod rolling;
pub mod stage;
pub mod starved;
