//! One node: the entity host, the kinds of entity, and the supervision tree.

pub mod model;
pub mod session;
