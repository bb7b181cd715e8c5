//! All end-to-end tests, as one binary, so that they link once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod anchored;
mod breakers;
mod broken_card;
mod browser;
mod chain_failover;
mod cli;
mod cluster;
mod commands;
mod cosmos;
mod crowded;
mod demo;
mod docs;
mod escrow;
mod grpcurl;
mod home;
mod hostile;
mod hub;
mod local_cluster;
mod models;
mod modules;
mod openai;
mod operator;
mod packaging;
mod paid;
mod payments;
mod proved;
mod quarantine;
mod quickstart;
mod real_chain;
mod recovery;
mod rolling;
mod shell;
mod solana;
mod stake;
mod stalled;
mod stand;
mod tenant;
mod terminal;
mod tidy;
mod trade;
mod triggers;
mod versions;
mod wallets;

use steward_tests::parts;
