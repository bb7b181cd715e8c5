//! Where a replica's model is: its weights on a device, and the memory that they take there. And where else it can be.

use std::fmt;
use std::sync::Arc;

use steward_inference::{DeviceBudget, ModelError, Reservation};

use crate::llama::Llama;

/// A model on a device.
#[derive(Debug)]
pub struct Home {
    /// The weights.
    pub llama: Llama,
    /// Where each sequence's cache is reserved.
    pub device: Arc<DeviceBudget>,
    /// The model's memory: given back when it was freed.
    pub _reserved: Vec<Reservation>,
}

/// Loads a model's weights on whichever device that works has room for them, or says why on none. It takes as long as
/// loading takes.
pub struct FindHome(Box<dyn Fn() -> Result<Home, String> + Send + Sync>);

impl FindHome {
    /// By `find`.
    pub fn new(find: impl Fn() -> Result<Home, String> + Send + Sync + 'static) -> Self {
        Self(Box::new(find))
    }

    /// The model on a device that works, or why on none.
    pub fn find(&self) -> Result<Home, String> {
        (self.0)()
    }
}

/// Takes a device out of use when `error` is a failure of it: after most of a driver's errors nothing of its context can
/// be used any more, in this process.
pub fn note_failure(device: &DeviceBudget, error: &ModelError) {
    let ModelError::DeviceFailed { operation, what, .. } = error else { return };
    if device.fail(format!("{operation}: {what}")) {
        let device = device.name();
        tracing::error!(device, %error, "a device failed; nothing is run on it until the node is started again");
    }
}

impl fmt::Debug for FindHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FindHome")
    }
}
