//! One node: the entity host, the kinds of entity, and the supervision tree.

pub mod host;
pub mod lease;
pub mod model;
pub mod session;
pub mod supervision;
