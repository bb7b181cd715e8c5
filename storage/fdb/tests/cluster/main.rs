//! The driver on a FoundationDB cluster: on the one that `FDB_CLUSTER_FILE` names, or on a server of the tests' own
//! when `FDB_SERVER` names a `fdbserver`. Without either each test says that it is skipped.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing, and what it skips"
)]

mod behaviour;
mod conformance;
mod exit;
mod kill;
mod server;
mod traces;
