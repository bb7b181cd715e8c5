//! What proves the promise by killing: a plan, a world outside, a workload, a nemesis, checks and a report.
//!
//! It knows a node only as its clients do, and as an operator who can kill it.

pub mod check;
pub mod dialler;
pub mod fleet;
pub mod healing;
pub mod linear;
pub mod measure;
pub mod nemesis;
pub mod network;
pub mod plan;
pub mod project;
pub mod pulse;
pub mod registers;
pub mod report;
pub mod run;
pub mod store;
pub mod workers;
pub mod workload;
pub mod world;

pub use plan::Plan;
pub use report::Report;
pub use run::run;
