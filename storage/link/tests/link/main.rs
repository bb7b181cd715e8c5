//! The served store over loopback TLS: the port's conformance suite, who may connect, what is bounded, and what stays
//! true while connections are cut and the server is killed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing, and how far it came"
)]

mod bounds;
mod certificates;
mod conformance;
mod faults;
mod gate;
mod kill;
mod silence;
mod stage;
mod trust;
