//! One node: the entity host, the kinds of entity, and the supervision tree.

pub mod activity;
pub mod agent;
pub mod audit;
pub mod budget;
pub mod chain;
pub mod crowd;
pub mod device;
#[cfg(test)]
mod dying_store;
pub mod host;
pub mod lease;
pub mod memory;
pub mod model;
pub mod pause;
pub mod project;
pub mod receipt_log;
pub mod service;
pub mod session;
pub mod supervision;
pub mod timer;
pub mod trigger;
