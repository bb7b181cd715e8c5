//! Tools an agent may use: the allow-listed HTTP client.
//!
//! It must never reach what an agent's manifest does not allow: neither by a redirect, nor by a name that resolves to
//! a private address, nor by one that resolves differently a moment later.

mod client;
mod headers;
mod resolver;

pub use client::HttpClient;
pub use resolver::{Lookup, SystemLookup};
