//! The edge: authentication, gRPC services and OpenAI-compatible HTTP, all on one port.
//!
//! Nothing is decided here but who may ask: every answer comes from the node's façade, and every error gets its
//! status code here and nowhere else.

pub mod proto;

mod admission;
mod auth;
mod call;
mod config;
mod convert;
mod grpc;
mod http;
mod metric;
mod server;
mod status;
mod tls;

pub use config::{ApiConfig, Readiness, TlsFiles};
pub use server::{ServeError, serve};
