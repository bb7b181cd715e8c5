//! The served store: the store of one process, offered to the other nodes of a laptop or CI cluster over mutual TLS.
//!
//! It has one process and one disk and no replica: while that process is away, every node waits. It is for trying a
//! cluster and for testing one; in production nodes share a FoundationDB cluster. This crate knows nothing of nodes:
//! certificates, addresses and the store to serve are given to it.

mod client;
mod deadline;
mod error;
mod frame;
mod server;
mod tls;
mod wire;

pub use client::{ServedConfig, ServedStore, ServedStoreState};
pub use error::LinkError;
pub use frame::FrameError;
pub use server::{StoreServer, StoreServerState};
pub use tls::{ClientTls, ServerTls};
