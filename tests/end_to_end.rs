//! All end-to-end tests, as one binary, so that they link once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod anchored;
mod breakers;
mod browser;
mod chain_failover;
mod cli;
mod cluster;
mod commands;
mod cosmos;
mod demo;
mod docs;
mod grpcurl;
mod home;
mod hostile;
mod hub;
mod kill;
mod local_cluster;
mod models;
mod openai;
mod packaging;
mod paid;
mod parts;
mod payments;
mod proved;
mod quickstart;
mod real_chain;
mod rolling;
mod shell;
mod solana;
mod stand;
mod tenant;
mod terminal;
mod tidy;
mod triggers;
mod versions;
mod wallets;
