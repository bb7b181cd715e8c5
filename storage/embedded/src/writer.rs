//! The one thread that writes: validates commits, groups them into one sync, and only then shows and acknowledges them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use steward_storage::optimistic::{Apply, CommitRequest, Conflicts, KeyRange, Snapshot};
use steward_storage::{CommitVersion, StoreError};
use steward_types::limits::{COMMIT_GROUP_BYTES_MAX, COMMIT_GROUP_MAX};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::disk::{Disk, DiskSnapshot};
use crate::store::Shared;

/// Rows that one look into a range to be removed takes from disk.
const REMOVE_ROWS: usize = 1_000;

/// A commit that waits for the writer. Its place in the queue is free again once it is answered.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) request: CommitRequest,
    pub(crate) reply: oneshot::Sender<Result<CommitVersion, StoreError>>,
    pub(crate) place: OwnedSemaphorePermit,
}

/// The writer's state; it lives on its own thread.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    disk: Disk,
    conflicts: Conflicts,
    version: CommitVersion,
}

impl Writer {
    /// A writer of a store that stands at `version`.
    pub(crate) fn new(shared: Arc<Shared>, disk: Disk, conflicts: Conflicts, version: CommitVersion) -> Self {
        Self { shared, disk, conflicts, version }
    }

    /// Commits until the queue is closed and empty; then releases the folder.
    pub(crate) fn run(mut self, queue: &mpsc::Receiver<Commit>) {
        while let Ok(first) = queue.recv() {
            let mut bytes = first.request.bytes();
            let mut group = vec![first];
            while group.len() < COMMIT_GROUP_MAX && bytes < COMMIT_GROUP_BYTES_MAX {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.request.bytes();
                group.push(next);
            }
            self.commit(group);
        }
        self.shared.published.write().take();
        self.shared.watches.close();
    }

    fn commit(&mut self, group: Vec<Commit>) {
        let published = self.shared.published.read().clone();
        let (None, Some(published)) = (self.shared.failure.get(), published) else {
            let reason = self.shared.failure.get().map_or("the store is closed", String::as_str);
            group.into_iter().for_each(|commit| commit.answer(Err(StoreError::unavailable(reason))));
            return;
        };
        let mut rows = GroupRows { base: &published, changed: BTreeMap::new(), undo: Vec::new() };
        let (mut accepted, mut refused) = (Vec::with_capacity(group.len()), Vec::new());
        for commit in group {
            match self.accept(&commit.request, &mut rows) {
                Ok(version) => accepted.push((commit, version)),
                Err(error) => refused.push((commit, error)),
            }
        }
        if !accepted.is_empty() {
            match self.disk.write(rows.changed.into_iter(), self.version) {
                Ok(()) => self.publish(accepted),
                Err(error) => self.fail(&error, accepted),
            }
        }
        // Only now: who tries again at once shall read what it was refused for, or it would be refused again.
        refused.into_iter().for_each(|(commit, error)| commit.answer(Err(error)));
    }

    /// Validates a request and lays its writes over those of the group.
    fn accept(&mut self, request: &CommitRequest, rows: &mut GroupRows<'_>) -> Result<CommitVersion, StoreError> {
        self.conflicts.check(request)?;
        let version = CommitVersion(self.version.0 + 1);
        rows.undo.clear();
        if let Err(error) = request.apply(version, rows) {
            rows.revert();
            return Err(error);
        }
        self.version = version;
        self.conflicts.record(request, version, self.shared.clock.monotonic());
        Ok(version)
    }

    /// Shows a secured group to readers, wakes those who watch its keys, and acknowledges it, in this order.
    fn publish(&self, accepted: Vec<(Commit, CommitVersion)>) {
        let snapshot = Arc::new(self.disk.snapshot(self.version));
        let before = self.shared.published.write().replace(snapshot);
        drop(before);
        for (commit, version) in accepted {
            if !self.shared.watches.is_empty() {
                self.shared.watches.notify(&commit.request, version);
            }
            commit.answer(Ok(version));
        }
    }

    /// What reached the disk of a failed write is known only after the store was opened again, so nothing more is
    /// written. Readers keep the last secured state.
    fn fail(&self, error: &StoreError, accepted: Vec<(Commit, CommitVersion)>) {
        let what = match error {
            StoreError::Unavailable { reason, source: Some(source) } => format!("{reason} ({source})"),
            StoreError::Unavailable { reason, source: None } => reason.clone(),
            other => other.to_string(),
        };
        let reason = format!("{what}; nothing is written until it is opened again");
        tracing::error!(folder = self.shared.folder, %reason, "the embedded store stopped writing");
        // Only this thread sets it.
        let _ = self.shared.failure.set(reason);
        accepted.into_iter().for_each(|(commit, _)| commit.answer(Err(StoreError::CommitUnknown)));
    }
}

impl Commit {
    fn answer(self, outcome: Result<CommitVersion, StoreError>) {
        drop(self.place);
        // Whoever asked may have gone; the outcome stands.
        let _ = self.reply.send(outcome);
    }
}

/// The rows of a group that is being put together, over the last published state.
struct GroupRows<'a> {
    base: &'a DiskSnapshot,
    changed: BTreeMap<Bytes, Option<Bytes>>,
    /// What stood in `changed` before each put of the request in hand.
    undo: Vec<(Bytes, Option<Option<Bytes>>)>,
}

impl GroupRows<'_> {
    fn revert(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.changed.insert(key, value),
                None => self.changed.remove(&key),
            };
        }
    }
}

impl Apply for GroupRows<'_> {
    fn get(&mut self, key: &Bytes) -> Result<Option<Bytes>, StoreError> {
        match self.changed.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    fn put(&mut self, key: Bytes, value: Option<Bytes>) {
        let before = self.changed.insert(key.clone(), value);
        self.undo.push((key, before));
    }

    fn remove(&mut self, range: &KeyRange) -> Result<(), StoreError> {
        let mut rest = range.clone();
        loop {
            let rows = self.base.rows(&rest, REMOVE_ROWS, false)?;
            let last = rows.last().filter(|_| rows.len() == REMOVE_ROWS).map(|(key, _)| key.clone());
            rows.into_iter().for_each(|(key, _)| self.put(key, None));
            let Some(last) = last else { break };
            rest.begin = steward_storage::key::successor(&last);
        }
        let bounds = (Bound::Included(&range.begin), Bound::Excluded(&range.end));
        let written: Vec<Bytes> = self.changed.range::<Bytes, _>(bounds).map(|(key, _)| key.clone()).collect();
        written.into_iter().for_each(|key| self.put(key, None));
        Ok(())
    }
}
