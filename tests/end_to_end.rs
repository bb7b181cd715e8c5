//! All end-to-end tests, as one binary, so that they link once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod anchored;
mod browser;
mod cli;
mod commands;
mod cosmos;
mod demo;
mod docs;
mod grpcurl;
mod home;
mod hostile;
mod hub;
mod kill;
mod models;
mod openai;
mod packaging;
mod parts;
mod payments;
mod quickstart;
mod shell;
mod solana;
mod tenant;
mod tidy;
mod triggers;
mod versions;
mod wallets;
