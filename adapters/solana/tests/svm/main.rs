//! The driver against a real SVM: conformance, anchors, payments and credits, and an outbox that is killed between any
//! two steps, on a cluster where transactions expire; and against endpoints that lack what they should have.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod anchoring;
mod cluster;
mod credits;
mod endpoint;
mod exactly_once;
mod history;
mod lacking;
mod sending;
mod watching;
