//! Shards: their ownership and epochs in the store, and the lease that fences each write.

pub mod lease;
pub mod map;
pub mod record;
pub mod view;

mod holdings;
pub(crate) mod ownership;

pub(crate) use holdings::Holdings;
pub use lease::ShardLease;
pub use map::{Owner, ShardMap};
pub use record::{Pin, ShardRecord};
pub use view::View;
