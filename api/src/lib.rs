//! The edge: authentication, gRPC services and OpenAI-compatible HTTP.

pub mod http;
pub mod proto;
