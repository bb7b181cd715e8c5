//! The turn engine as a whole, on the in-memory store with a scripted model and a counting HTTP tool.

mod crash;
mod harness;
mod turns;
