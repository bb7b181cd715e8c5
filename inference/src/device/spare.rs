//! Device memory that holds what may be useful again: whoever needs memory gets it, the oldest first.

use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Reservation;

/// A value in device memory that counts as free: it is dropped when somebody reserves what is not there otherwise.
#[derive(Debug)]
pub struct Spare<T>(Arc<Mutex<Option<Held<T>>>>);

#[derive(Debug)]
struct Held<T> {
    value: T,
    /// Gives the memory back after the value.
    _reservation: Reservation,
}

impl<T: Send + fmt::Debug + 'static> Spare<T> {
    pub(super) fn new(value: T, reservation: Reservation) -> (Self, Weak<dyn GiveUp>) {
        let held = Arc::new(Mutex::new(Some(Held { value, _reservation: reservation })));
        let weak: Weak<Mutex<Option<Held<T>>>> = Arc::downgrade(&held);
        (Self(held), weak)
    }

    /// Shows the value; none when it was given up. Whoever would have it given up meanwhile waits.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.lock().as_ref().map(|held| look(&held.value))
    }
}

/// What can be dropped to free memory.
pub(super) trait GiveUp: fmt::Debug + Send + Sync {
    fn give_up(&self);
}

impl<T: Send + fmt::Debug> GiveUp for Mutex<Option<Held<T>>> {
    fn give_up(&self) {
        let held = self.lock().take();
        drop(held);
    }
}
