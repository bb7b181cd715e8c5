//! Watches: who waits for a change of which key.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use steward_types::limits::WATCHES_MAX;
use tokio::sync::oneshot;

use super::Snapshot;
use super::write_set::CommitRequest;
use crate::{CommitVersion, StoreError};

/// Resolves when the watched key changed, or to an error when the watch can no longer tell. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    changed: oneshot::Receiver<()>,
    place: Arc<Place>,
}

impl Future for Watch {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lost = |_| StoreError::unavailable("the watch ended: its transaction did not commit, or the store closed");
        Pin::new(&mut self.changed).poll(context).map_err(lost)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Closed before the place is left, so that an activation at the same time sees one or the other.
        self.changed.close();
        self.place.leave();
    }
}

/// One watch's place among those of the store.
#[derive(Debug)]
struct Place {
    key: Bytes,
    number: u64,
    watches: Arc<Watches>,
}

impl Place {
    fn leave(&self) {
        let mut waiting = self.watches.waiting.lock();
        if let Some(of_key) = waiting.get_mut(&self.key) {
            of_key.retain(|waiter| waiter.number != self.number);
            if of_key.is_empty() {
                waiting.remove(&self.key);
            }
        }
        drop(waiting);
        self.watches.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A watch of a transaction that has not committed yet.
#[derive(Debug)]
pub struct PendingWatch {
    key: Bytes,
    waiter: Waiter,
}

impl PendingWatch {
    /// The watched key.
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// Whether nobody waits for it any more.
    pub fn is_abandoned(&self) -> bool {
        self.waiter.changed.is_closed()
    }

    /// Resolves the watch: for a backend that hears of changes by other ways than [`Watches::notify`].
    pub fn resolve(self) {
        // The watch may be dropped already; then nobody waits.
        let _ = self.waiter.changed.send(());
    }
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    changed: oneshot::Sender<()>,
}

impl PendingWatch {
    /// Returns once nobody waits for it any more.
    pub async fn abandoned(&mut self) {
        self.waiter.changed.closed().await;
    }
}

/// All watches of a store, at most [`WATCHES_MAX`].
#[derive(Debug, Default)]
pub struct Watches {
    waiting: Mutex<HashMap<Bytes, Vec<Waiter>>>,
    count: AtomicUsize,
    numbers: AtomicU64,
}

impl Watches {
    /// A watch that waits for its transaction to commit.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when the store has as many as it may have.
    pub fn prepare(self: &Arc<Self>, key: Bytes) -> Result<(Watch, PendingWatch), StoreError> {
        let size = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if size > WATCHES_MAX {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(StoreError::TooLarge { what: "watches", size, limit: WATCHES_MAX });
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (sender, changed) = oneshot::channel();
        let place = Arc::new(Place { key: key.clone(), number, watches: Arc::clone(self) });
        Ok((Watch { changed, place }, PendingWatch { key, waiter: Waiter { number, changed: sender } }))
    }

    /// Makes a watch active. `expected` is what its transaction saw, `now` the store's latest state, taken by a call
    /// after this one entered the watch: so a change is seen by one of the two, whenever it comes.
    ///
    /// # Errors
    /// Those of reading the latest state.
    pub fn activate(
        &self,
        watch: PendingWatch,
        expected: Option<&Bytes>,
        now: impl FnOnce() -> Result<Arc<dyn Snapshot>, StoreError>,
    ) -> Result<(), StoreError> {
        let PendingWatch { key, waiter } = watch;
        {
            let mut waiting = self.waiting.lock();
            if waiter.changed.is_closed() {
                return Ok(());
            }
            waiting.entry(key.clone()).or_default().push(waiter);
        }
        if now()?.get(&key)?.as_ref() != expected {
            wake(self.waiting.lock().remove(&key).unwrap_or_default());
        }
        Ok(())
    }

    /// Whether nobody waits, so that a commit need not ask further.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Wakes those who wait for what a commit changed. To be called once the change can be read.
    pub fn notify(&self, request: &CommitRequest, version: CommitVersion) {
        let mut waiting = self.waiting.lock();
        let mut changed: Vec<Waiter> =
            request.changed_keys(version).filter_map(|key| waiting.remove(&key)).flatten().collect();
        for range in request.changed_ranges() {
            let keys: Vec<Bytes> = waiting.keys().filter(|key| range.contains(key)).cloned().collect();
            changed.extend(keys.iter().filter_map(|key| waiting.remove(key)).flatten());
        }
        drop(waiting);
        wake(changed);
    }

    /// Ends all watches with an error.
    pub fn close(&self) {
        self.waiting.lock().clear();
    }
}

fn wake(waiters: Vec<Waiter>) {
    for waiter in waiters {
        // The watch may be dropped already; then nobody waits.
        let _ = waiter.changed.send(());
    }
}
