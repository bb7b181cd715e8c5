//! Memory accounting of one device. Whatever takes device memory reserves it here first, so that a model too big is
//! refused before it is loaded, and a sequence waits or is refused before its cache is allocated. A device that has
//! failed gives nothing any more.

mod devices;
mod spare;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use self::devices::{DeviceKind, Devices};
use self::spare::GiveUp;
pub use self::spare::Spare;
use crate::ModelError;

/// The memory that models may take on one device, and who took how much of it.
#[derive(Debug)]
pub struct DeviceBudget {
    name: String,
    kind: DeviceKind,
    total_bytes: u64,
    ledger: Mutex<Ledger>,
    /// Why nothing can be done on it any more.
    failure: OnceLock<String>,
    /// What can be given up, the oldest first; some of it may be gone.
    spares: Mutex<VecDeque<Weak<dyn GiveUp>>>,
}

#[derive(Debug, Default)]
struct Ledger {
    used_bytes: u64,
    spare_bytes: u64,
    peak_bytes: u64,
    owners: BTreeMap<String, u64>,
}

/// What a device's memory was used for at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSnapshot {
    /// The device's name.
    pub name: String,
    /// What it is.
    #[serde(default)]
    pub kind: DeviceKind,
    /// Bytes that may be reserved in all.
    pub total_bytes: u64,
    /// Bytes reserved now. What is only kept in case it is useful again counts as free.
    pub used_bytes: u64,
    /// Most bytes that were ever reserved at once.
    pub peak_bytes: u64,
    /// Bytes by owner, such as `smollm2 weights`.
    pub owners: BTreeMap<String, u64>,
    /// Bytes that hold what may be useful again, and that whoever needs them gets.
    #[serde(default)]
    pub spare_bytes: u64,
    /// Why nothing can be done on it any more; none while it works.
    #[serde(default)]
    pub failure: Option<String>,
}

impl DeviceBudget {
    /// The machine's processors and memory, of which models may take `total_bytes`.
    pub fn new(name: impl Into<String>, total_bytes: u64) -> Arc<Self> {
        Self::of_kind(name, DeviceKind::Processor, total_bytes)
    }

    /// A device of some kind, of which models may take `total_bytes`.
    pub fn of_kind(name: impl Into<String>, kind: DeviceKind, total_bytes: u64) -> Arc<Self> {
        let (ledger, failure, spares) = (Mutex::default(), OnceLock::new(), Mutex::default());
        Arc::new(Self { name: name.into(), kind, total_bytes, ledger, failure, spares })
    }

    /// What it is.
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Notes that the device failed, for as long as the process lives; says whether that is news.
    pub fn fail(&self, why: impl Into<String>) -> bool {
        self.failure.set(why.into()).is_ok()
    }

    /// Why nothing can be done on it any more; none while it works.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Takes `bytes` for `owner` until the reservation is dropped, or fails with [`ModelError::DeviceMemory`] and takes
    /// nothing. What is spare is given up first, as far as that helps. [`ModelError::DeviceFailed`] once it has failed.
    pub fn reserve(self: &Arc<Self>, owner: impl Into<String>, bytes: u64) -> Result<Reservation, ModelError> {
        let owner = owner.into();
        if let Some(what) = self.failure() {
            let (device, operation, what) = (self.name.clone(), format!("memory for {owner}"), what.to_owned());
            return Err(ModelError::DeviceFailed { device, operation, what });
        }
        loop {
            let mut ledger = self.ledger.lock();
            let free_bytes = self.total_bytes.saturating_sub(ledger.used_bytes);
            if bytes > free_bytes {
                let device = self.name.clone();
                return Err(ModelError::DeviceMemory { device, owner, needed_bytes: bytes, free_bytes });
            }
            if bytes <= free_bytes.saturating_sub(ledger.spare_bytes) {
                ledger.used_bytes += bytes;
                ledger.peak_bytes = ledger.peak_bytes.max(ledger.used_bytes);
                *ledger.owners.entry(owner.clone()).or_default() += bytes;
                drop(ledger);
                return Ok(Reservation { device: Arc::clone(self), owner, bytes, is_spare: false });
            }
            // Giving up takes the ledger.
            drop(ledger);
            self.give_up_oldest();
        }
    }

    fn give_up_oldest(&self) {
        let mut spares = self.spares.lock();
        // Those that are gone have given their memory back.
        while let Some(spare) = spares.pop_front() {
            if let Some(spare) = spare.upgrade() {
                drop(spares);
                return spare.give_up();
            }
        }
    }

    /// What the memory is used for now.
    pub fn snapshot(&self) -> DeviceSnapshot {
        let ledger = self.ledger.lock();
        DeviceSnapshot {
            name: self.name.clone(),
            kind: self.kind,
            total_bytes: self.total_bytes,
            used_bytes: ledger.used_bytes,
            peak_bytes: ledger.peak_bytes,
            owners: ledger.owners.clone(),
            spare_bytes: ledger.spare_bytes,
            failure: self.failure().map(str::to_owned),
        }
    }
}

impl DeviceSnapshot {
    /// Bytes that may still be reserved.
    pub const fn free_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(self.used_bytes)
    }
}

/// Device memory that is taken until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    device: Arc<DeviceBudget>,
    owner: String,
    bytes: u64,
    /// Whether it counts as spare instead of used.
    is_spare: bool,
}

impl Reservation {
    /// How many bytes are taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps `value`, which is what the memory was taken for, until somebody needs the memory.
    pub fn spare<T: Send + fmt::Debug + 'static>(mut self, value: T) -> Spare<T> {
        let device = Arc::clone(&self.device);
        {
            let mut ledger = device.ledger.lock();
            ledger.release(&self);
            ledger.spare_bytes += self.bytes;
            self.is_spare = true;
        }
        let (spare, weak) = Spare::new(value, self);
        let mut spares = device.spares.lock();
        spares.retain(|spare| spare.strong_count() > 0);
        spares.push_back(weak);
        spare
    }
}

impl Ledger {
    fn release(&mut self, reservation: &Reservation) {
        self.used_bytes -= reservation.bytes;
        if let Some(bytes) = self.owners.get_mut(&reservation.owner) {
            *bytes -= reservation.bytes;
            if *bytes == 0 {
                self.owners.remove(&reservation.owner);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut ledger = self.device.ledger.lock();
        if self.is_spare {
            ledger.spare_bytes -= self.bytes;
        } else {
            ledger.release(self);
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

    #[test]
    fn what_is_spare_counts_as_free_and_is_given_up_only_when_needed_the_oldest_first() {
        let device = DeviceBudget::new("cpu", 100);
        let [first, second] = ["first", "second"].map(|name| device.reserve(name, 40).unwrap().spare(name));
        let snapshot = device.snapshot();
        assert_eq!((snapshot.used_bytes, snapshot.spare_bytes, snapshot.owners.len()), (0, 80, 0));
        let small = device.reserve("fits beside", 20).unwrap();
        assert_eq!(first.look(|name| *name), Some("first"));
        let next = device.reserve("takes one", 30).unwrap();
        assert_eq!((first.look(|name| *name), second.look(|name| *name)), (None, Some("second")));
        assert!(device.reserve("too much", 51).is_err());
        assert_eq!(second.look(|name| *name), Some("second"), "what would not help is not given up");
        drop((small, next, second));
        assert_eq!((device.snapshot().used_bytes, device.snapshot().spare_bytes), (0, 0));
        device.reserve("all", 100).unwrap();
    }

    #[test]
    fn a_device_that_failed_gives_nothing_more_and_says_why_it_failed_first() {
        let device = DeviceBudget::new("cuda:0", 100);
        let taken = device.reserve("a weights", 40).unwrap();
        assert!(device.fail("an illegal address") && !device.fail("another"));
        let refused = device.reserve("b weights", 1).unwrap_err();
        assert_eq!(refused.to_string(), "device cuda:0 failed: memory for b weights: an illegal address");
        drop(taken);
        let snapshot = device.snapshot();
        assert_eq!((snapshot.used_bytes, snapshot.failure.as_deref()), (0, Some("an illegal address")));
    }
}
