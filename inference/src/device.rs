//! Memory accounting of one device. Whatever takes device memory reserves it here first, so that a model too big is
//! refused before it is loaded, and a sequence waits or is refused before its cache is allocated.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::ModelError;

/// The memory that models may take on one device, and who took how much of it.
#[derive(Debug)]
pub struct DeviceBudget {
    name: String,
    total_bytes: u64,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    used_bytes: u64,
    peak_bytes: u64,
    owners: BTreeMap<String, u64>,
}

/// What a device's memory was used for at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSnapshot {
    /// The device's name.
    pub name: String,
    /// Bytes that may be reserved in all.
    pub total_bytes: u64,
    /// Bytes reserved now.
    pub used_bytes: u64,
    /// Most bytes that were ever reserved at once.
    pub peak_bytes: u64,
    /// Bytes by owner, such as `smollm2 weights`.
    pub owners: BTreeMap<String, u64>,
}

impl DeviceBudget {
    /// A device of which models may take `total_bytes`.
    pub fn new(name: impl Into<String>, total_bytes: u64) -> Arc<Self> {
        Arc::new(Self { name: name.into(), total_bytes, ledger: Mutex::default() })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes `bytes` for `owner` until the reservation is dropped, or fails with [`ModelError::DeviceMemory`] and takes
    /// nothing.
    pub fn reserve(self: &Arc<Self>, owner: impl Into<String>, bytes: u64) -> Result<Reservation, ModelError> {
        let owner = owner.into();
        let mut ledger = self.ledger.lock();
        let free_bytes = self.total_bytes.saturating_sub(ledger.used_bytes);
        if bytes > free_bytes {
            return Err(ModelError::DeviceMemory { device: self.name.clone(), owner, needed_bytes: bytes, free_bytes });
        }
        ledger.used_bytes += bytes;
        ledger.peak_bytes = ledger.peak_bytes.max(ledger.used_bytes);
        *ledger.owners.entry(owner.clone()).or_default() += bytes;
        drop(ledger);
        Ok(Reservation { device: Arc::clone(self), owner, bytes })
    }

    /// What the memory is used for now.
    pub fn snapshot(&self) -> DeviceSnapshot {
        let ledger = self.ledger.lock();
        DeviceSnapshot {
            name: self.name.clone(),
            total_bytes: self.total_bytes,
            used_bytes: ledger.used_bytes,
            peak_bytes: ledger.peak_bytes,
            owners: ledger.owners.clone(),
        }
    }
}

/// Device memory that is taken until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    device: Arc<DeviceBudget>,
    owner: String,
    bytes: u64,
}

impl Reservation {
    /// How many bytes are taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut ledger = self.device.ledger.lock();
        ledger.used_bytes -= self.bytes;
        if let Some(bytes) = ledger.owners.get_mut(&self.owner) {
            *bytes -= self.bytes;
            if *bytes == 0 {
                ledger.owners.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_takes_nothing() {
        let device = DeviceBudget::new("cpu", 100);
        let weights = device.reserve("a weights", 70).unwrap();
        let refused = device.reserve("b weights", 31).unwrap_err();
        assert_eq!(refused.to_string(), "b weights needs 31 bytes on device cpu, which has 30 left");
        assert_eq!(device.snapshot().used_bytes, 70);
        drop(weights);
        device.reserve("b weights", 100).unwrap();
    }

    #[test]
    fn a_dropped_reservation_leaves_no_trace_but_the_peak() {
        let device = DeviceBudget::new("cpu", 100);
        drop((device.reserve("a", 10).unwrap(), device.reserve("a", 20).unwrap()));
        let snapshot = device.snapshot();
        assert_eq!((snapshot.used_bytes, snapshot.peak_bytes, snapshot.owners.len()), (0, 30, 0));
    }
}
