//! The in-memory store: several versions of each key, one commit at a time. For tests, and for nothing that must last.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use steward_types::{Clock, SystemClock};

use crate::optimistic::{self, Apply, Backend, CommitRequest, Conflicts, KeyRange, Snapshot, Watches};
use crate::{CommitVersion, Store, StoreError, Txn};

/// A store that forgets all when it is dropped.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rows: Arc<RwLock<Rows>>,
    watches: Arc<Watches>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Rows {
    /// The values of each key with the version they came with, oldest first.
    values: BTreeMap<Bytes, Vec<(CommitVersion, Option<Bytes>)>>,
    /// Keys with versions that nobody will read any more, once transactions as old as that are gone.
    outdated: VecDeque<(CommitVersion, Bytes)>,
    conflicts: Conflicts,
    version: CommitVersion,
    closed: bool,
}

impl MemoryStore {
    /// An empty store on the machine's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::new()))
    }

    /// An empty store. On a [`ManualClock`](steward_types::ManualClock) a transaction that conflicts twice waits
    /// until somebody moves the clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let version = CommitVersion(0);
        let conflicts = Conflicts::new(version);
        let rows = Rows { values: BTreeMap::new(), outdated: VecDeque::new(), conflicts, version, closed: false };
        let (rows, watches) = (Arc::new(RwLock::new(rows)), Arc::default());
        Self { shared: Arc::new(Shared { rows, watches, clock }) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn begin(&self) -> Txn {
        optimistic::begin(Arc::clone(&self.shared) as Arc<dyn Backend>)
    }

    fn name(&self) -> &'static str {
        "memory"
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.shared.rows.write().closed = true;
        self.shared.watches.close();
        Ok(())
    }
}

fn closed() -> StoreError {
    StoreError::unavailable("the in-memory store is closed")
}

#[async_trait]
impl Backend for Shared {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        let rows = self.rows.read();
        if rows.closed {
            return Err(closed());
        }
        Ok(Arc::new(MemorySnapshot { rows: Arc::clone(&self.rows), version: rows.version }))
    }

    async fn commit(&self, request: CommitRequest) -> Result<CommitVersion, StoreError> {
        let version = self.rows.write().commit(&request, &*self.clock)?;
        if !self.watches.is_empty() {
            self.watches.notify(&request, version);
        }
        Ok(version)
    }

    fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl Rows {
    fn commit(&mut self, request: &CommitRequest, clock: &dyn Clock) -> Result<CommitVersion, StoreError> {
        if self.closed {
            return Err(closed());
        }
        self.conflicts.check(request)?;
        let version = CommitVersion(self.version.0 + 1);
        self.version = version;
        request.apply(version, self)?;
        self.conflicts.record(request, version, clock.monotonic());
        self.forget();
        Ok(version)
    }

    fn value(&self, key: &[u8], at: CommitVersion) -> Option<Bytes> {
        value_at(self.values.get(key)?, at)
    }

    /// Drops versions that only transactions of a forbidden age could read.
    fn forget(&mut self) {
        let oldest = self.conflicts.oldest();
        while self.outdated.front().is_some_and(|&(version, _)| version < oldest) {
            let Some((_, key)) = self.outdated.pop_front() else { return };
            let Some(versions) = self.values.get_mut(&key) else { continue };
            let kept_from = versions.iter().rposition(|&(version, _)| version <= oldest).unwrap_or(0);
            versions.drain(..kept_from);
            if matches!(versions[..], [(version, None)] if version <= oldest) {
                self.values.remove(&key);
            }
        }
    }
}

fn value_at(versions: &[(CommitVersion, Option<Bytes>)], at: CommitVersion) -> Option<Bytes> {
    versions.iter().rev().find(|&&(version, _)| version <= at)?.1.clone()
}

impl Apply for Rows {
    fn get(&mut self, key: &Bytes) -> Result<Option<Bytes>, StoreError> {
        Ok(self.value(key, self.version))
    }

    fn put(&mut self, key: Bytes, value: Option<Bytes>) {
        let version = self.version;
        let versions = self.values.entry(key.clone()).or_default();
        if versions.last().is_some_and(|&(last, _)| last == version) {
            versions.pop();
        }
        versions.push((version, value));
        self.outdated.push_back((version, key));
    }

    fn remove(&mut self, range: &KeyRange) -> Result<(), StoreError> {
        let keys: Vec<Bytes> = self.values.range::<Bytes, _>(bounds(range)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            if self.value(&key, self.version).is_some() {
                self.put(key, None);
            }
        }
        Ok(())
    }
}

fn bounds(range: &KeyRange) -> (Bound<&Bytes>, Bound<&Bytes>) {
    (Bound::Included(&range.begin), Bound::Excluded(&range.end))
}

#[derive(Debug)]
struct MemorySnapshot {
    rows: Arc<RwLock<Rows>>,
    version: CommitVersion,
}

impl Snapshot for MemorySnapshot {
    fn version(&self) -> CommitVersion {
        self.version
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.rows.read().value(key, self.version))
    }

    fn rows(&self, range: &KeyRange, limit: usize, reverse: bool) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let rows = self.rows.read();
        let seen = |(key, versions): (&Bytes, &Vec<_>)| Some((key.clone(), value_at(versions, self.version)?));
        let found = rows.values.range::<Bytes, _>(bounds(range));
        if reverse {
            Ok(found.rev().filter_map(seen).take(limit).collect())
        } else {
            Ok(found.filter_map(seen).take(limit).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::history::{Operation, generate, verify};
    use crate::conformance::{self, SuiteClock};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_memory_store_conforms() {
        conformance::check(|clock| async move { Arc::new(MemoryStore::with_clock(clock)) as Arc<dyn Store> }).await;
    }

    #[tokio::test]
    async fn the_memory_store_conforms_on_one_thread() {
        conformance::check(|clock| async move { Arc::new(MemoryStore::with_clock(clock)) as Arc<dyn Store> }).await;
    }

    #[tokio::test]
    async fn versions_that_nobody_can_read_are_forgotten() {
        let clock = Arc::new(SuiteClock::default());
        let store = MemoryStore::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        for round in 0..500u64 {
            let txn = store.begin();
            txn.set(b"same", &round.to_be_bytes()).unwrap();
            txn.set(&round.to_be_bytes(), b"").unwrap();
            if round > 0 {
                txn.clear(&(round - 1).to_be_bytes()).unwrap();
            }
            txn.commit().await.unwrap();
            clock.advance(std::time::Duration::from_millis(200));
        }
        let rows = store.shared.rows.read();
        assert!(rows.values.len() < 80 && rows.values[&b"same"[..]].len() < 80, "{}", rows.values.len());
    }

    /// A store that forgets what its transactions read, so that they never conflict.
    #[derive(Debug)]
    struct Careless(Arc<Shared>);

    #[async_trait]
    impl Backend for Careless {
        fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
            self.0.snapshot()
        }

        async fn commit(&self, mut request: CommitRequest) -> Result<CommitVersion, StoreError> {
            request.reads.clear();
            self.0.commit(request).await
        }

        fn watches(&self) -> &Arc<Watches> {
            self.0.watches()
        }

        fn clock(&self) -> &Arc<dyn Clock> {
            Backend::clock(&*self.0)
        }
    }

    #[async_trait]
    impl Store for Careless {
        fn begin(&self) -> Txn {
            optimistic::begin(Arc::new(Self(Arc::clone(&self.0))))
        }

        fn name(&self) -> &'static str {
            "careless"
        }

        fn clock(&self) -> Arc<dyn Clock> {
            Arc::clone(&self.0.clock)
        }

        async fn close(&self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_history_check_finds_a_store_without_conflict_detection() {
        let store: Arc<dyn Store> = Arc::new(Careless(MemoryStore::new().shared));
        let history = generate(&store, 1, 8, 100).await.unwrap();
        let final_rows = Operation::read_all().run(&store.begin()).await.unwrap();
        let wrong = verify(&history, &final_rows).unwrap_err();
        assert!(wrong.contains("saw"), "{wrong}");
    }
}
