//! The edge: authentication, gRPC services and OpenAI-compatible HTTP.

pub mod proto;
