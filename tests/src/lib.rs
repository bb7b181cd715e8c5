//! What the end-to-end tests share. They are one binary, but for the chaos runs, which want the machine for themselves.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod parts;
