//! What can go wrong with a GPU. Each error names the device and what was being done.

use thiserror::Error;

/// Why a GPU cannot be used, or what failed on it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GpuError {
    /// The driver's library is not on this machine, or is none.
    #[error("no NVIDIA driver can be loaded: {reason}")]
    NoDriver {
        /// What the system's loader says, or which function is missing.
        reason: String,
    },
    /// The driver is there, but not this card.
    #[error("there is no GPU {device}: the driver knows of {count}")]
    NoDevice {
        /// The device that was asked for.
        device: String,
        /// How many there are.
        count: u32,
    },
    /// The card is older than the kernels need.
    #[error("{device} ({model}) has compute capability {found}, the kernels need {needed} or later")]
    TooOld {
        /// The device.
        device: String,
        /// The card's name.
        model: String,
        /// What it has.
        found: String,
        /// What it needs.
        needed: &'static str,
    },
    /// The card has not this much memory left.
    #[error("{device}: {bytes} bytes for {purpose} are more than the {free_bytes} that the card has left")]
    OutOfMemory {
        /// The device.
        device: String,
        /// What the memory was for.
        purpose: String,
        /// Bytes that were asked for.
        bytes: u64,
        /// Bytes that are left.
        free_bytes: u64,
    },
    /// A call of the driver failed.
    #[error("{device}: {operation} failed: {reason}")]
    Failed {
        /// The device.
        device: String,
        /// What was being done.
        operation: String,
        /// The driver's name of the error and its text.
        reason: String,
    },
}
