//! Chain, Signer, outbox, circuit breaker and tool ports, each as pure state machines and object-safe traits.

pub mod http;

pub use http::{HttpFailure, HttpOutcome, HttpRequest, HttpResponse, HttpTool};
