//! The turn engine as a whole, on the in-memory store with a scripted model and a counting HTTP tool.

mod chains;
mod crash;
mod crowded;
mod harness;
mod limits;
mod operators;
mod recovery;
mod turns;
