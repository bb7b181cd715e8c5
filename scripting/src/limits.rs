//! What one turn of a script may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::limits;

/// Bounds of one turn. Each has its own error code, and no script can catch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Rhai operations (`SCRIPT_OPERATIONS`).
    pub operations_max: u64,
    /// Bytes that the script's values may take at once (`SCRIPT_MEMORY`).
    pub memory_bytes_max: usize,
    /// Processor time between two host calls (`SCRIPT_TIME`).
    pub slice_time_max: Duration,
    /// Host calls (`SCRIPT_STEPS`).
    pub steps_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            operations_max: limits::SCRIPT_OPERATIONS_MAX,
            memory_bytes_max: limits::SCRIPT_MEMORY_BYTES_MAX,
            slice_time_max: limits::SCRIPT_SLICE_TIME_MAX,
            steps_max: limits::TURN_STEPS_MAX,
        }
    }
}
