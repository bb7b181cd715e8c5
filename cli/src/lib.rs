//! The steward binary as a library: a node's assembly, the commands, and the demo. Tests start nodes with it.
//!
//! The one place where drivers are chosen and parts are put together.

pub mod args;
pub mod client;
pub mod commands;
pub mod config;
pub mod credentials;
pub mod demo;
mod logging;
pub mod node;
pub mod output;
pub mod process;
pub mod runtime;
pub mod shell;
pub mod sources;
