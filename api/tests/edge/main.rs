//! The edge over a real socket: a node on the in-memory store with a scripted model, and clients as users have them.

#![expect(clippy::unwrap_used, reason = "what a test relies on")]

mod access;
mod changes;
mod node;
mod openai;
mod operations;
mod services;
mod streams;
mod transport;
