//! All end-to-end tests, as one binary, so that they link once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod anchored;
mod browser;
mod cli;
mod cosmos;
mod demo;
mod docs;
mod grpcurl;
mod hostile;
mod kill;
mod models;
mod openai;
mod packaging;
mod parts;
mod payments;
mod shell;
mod solana;
mod tenant;
mod terminal;
mod tidy;
mod triggers;
mod wallets;
