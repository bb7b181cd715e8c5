//! Conflict detection: which keys were last written when, for as long as a transaction may live.
//!
//! Nearly all writes are of single keys, and each is one entry. Ranges that are written as a whole cut the keys into
//! intervals, each with the version of the last commit that wrote it, as in FoundationDB's resolver
//! (`fdbserver/SkipList.cpp`), here over an ordered map.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use steward_types::limits::TRANSACTION_TIME_MAX;

use super::write_set::{CommitRequest, KeyRange};
use crate::{CommitVersion, StoreError};

/// Intervals looked at for removal with each that a commit adds; more than one, so that removal keeps up.
const PRUNE_STEPS: usize = 3;
/// How finely the age of versions is known.
const AGE_STEP: Duration = Duration::from_millis(100);

/// The versions of recent writes.
#[derive(Debug)]
pub struct Conflicts {
    /// The version of the last write of a single key.
    keys: BTreeMap<Bytes, CommitVersion>,
    /// From this key up to the next, the version of the last write of a range.
    intervals: BTreeMap<Bytes, CommitVersion>,
    /// Transactions that read before this version are too old to be judged.
    oldest: CommitVersion,
    /// When which version was the latest, oldest first.
    ages: VecDeque<(Duration, CommitVersion)>,
    prune_keys_from: Bytes,
    prune_from: Bytes,
}

impl Conflicts {
    /// No writes yet; the store stands at `version`.
    pub fn new(version: CommitVersion) -> Self {
        let intervals = BTreeMap::from([(Bytes::new(), CommitVersion(0))]);
        Self {
            keys: BTreeMap::new(),
            intervals,
            oldest: version,
            ages: VecDeque::new(),
            prune_keys_from: Bytes::new(),
            prune_from: Bytes::new(),
        }
    }

    /// Whether a request may commit.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] and [`StoreError::TooOld`].
    pub fn check(&self, request: &CommitRequest) -> Result<(), StoreError> {
        let Some(read_version) = request.read_version else { return Ok(()) };
        if read_version < self.oldest {
            return Err(too_old());
        }
        let changed = |range: &KeyRange| self.last_write(range) > read_version;
        if request.reads.iter().any(changed) { Err(StoreError::Conflict) } else { Ok(()) }
    }

    /// Notes what a request writes at `version`; `now` is the clock's monotonic time.
    pub fn record(&mut self, request: &CommitRequest, version: CommitVersion, now: Duration) {
        let (mut keys, mut ranges) = (0, 0);
        for key in request.changed_keys(version) {
            self.keys.insert(key, version);
            keys += 1;
        }
        for range in request.changed_ranges() {
            self.write(range.clone(), version);
            ranges += 1;
        }
        self.age(version, now);
        self.prune_keys(keys * PRUNE_STEPS);
        self.prune(ranges * 2 * PRUNE_STEPS);
    }

    /// The oldest version at which a transaction may have read.
    pub fn oldest(&self) -> CommitVersion {
        self.oldest
    }

    fn last_write(&self, range: &KeyRange) -> CommitVersion {
        let of_keys = if range.is_point() {
            self.keys.get(&range.begin).copied()
        } else {
            let bounds = (Bound::Included(&range.begin), Bound::Excluded(&range.end));
            self.keys.range::<Bytes, _>(bounds).map(|(_, &version)| version).max()
        };
        of_keys.unwrap_or_default().max(self.last_write_of_ranges(range))
    }

    fn last_write_of_ranges(&self, range: &KeyRange) -> CommitVersion {
        let before = self.intervals.range::<Bytes, _>(..=&range.begin).next_back();
        let within = self.intervals.range::<Bytes, _>((Bound::Excluded(&range.begin), Bound::Excluded(&range.end)));
        before.into_iter().chain(within).map(|(_, &version)| version).max().unwrap_or_default()
    }

    fn write(&mut self, range: KeyRange, version: CommitVersion) {
        let upto_end = self.intervals.range::<Bytes, _>(..=&range.end).next_back();
        let behind = upto_end.map(|(_, &version)| version).unwrap_or_default();
        let within: Vec<Bytes> = {
            let bounds = (Bound::Excluded(&range.begin), Bound::Excluded(&range.end));
            self.intervals.range::<Bytes, _>(bounds).map(|(key, _)| key.clone()).collect()
        };
        for key in within {
            self.intervals.remove(&key);
        }
        self.intervals.insert(range.end, behind);
        self.intervals.insert(range.begin, version);
    }

    fn age(&mut self, version: CommitVersion, now: Duration) {
        if self.ages.back().is_none_or(|&(noted, _)| now >= noted + AGE_STEP) {
            self.ages.push_back((now, version));
        }
        // Twice the limit: the transaction judges its own age by the limit, this only bounds the memory.
        while self.ages.get(1).is_some_and(|&(noted, _)| now >= noted + 2 * TRANSACTION_TIME_MAX) {
            self.ages.pop_front();
            self.oldest = self.ages.front().map_or(self.oldest, |&(_, version)| version);
        }
    }

    /// Goes on from where it last stopped, and forgets keys that no transaction can have read before their write.
    fn prune_keys(&mut self, steps: usize) {
        let bounds = (Bound::Included(&self.prune_keys_from), Bound::Unbounded);
        let mut seen = self.keys.range::<Bytes, _>(bounds);
        let old = |(key, version): (&Bytes, &CommitVersion)| (*version <= self.oldest).then(|| key.clone());
        let forgotten: Vec<Bytes> = seen.by_ref().take(steps).filter_map(old).collect();
        self.prune_keys_from = seen.next().map(|(key, _)| key.clone()).unwrap_or_default();
        for key in forgotten {
            self.keys.remove(&key);
        }
    }

    /// Goes on from where it last stopped, and joins an old interval to an old one before it.
    fn prune(&mut self, steps: usize) {
        let bounds = (Bound::Included(&self.prune_from), Bound::Unbounded);
        let before = self.intervals.range::<Bytes, _>(..&self.prune_from).next_back();
        let mut before = before.map_or(CommitVersion(u64::MAX), |(_, &version)| version);
        let mut joined = Vec::new();
        let mut seen = self.intervals.range::<Bytes, _>(bounds);
        for (key, &version) in seen.by_ref().take(steps) {
            if version <= self.oldest && before <= self.oldest {
                joined.push(key.clone());
            }
            before = version;
        }
        self.prune_from = seen.next().map(|(key, _)| key.clone()).unwrap_or_default();
        for key in joined {
            self.intervals.remove(&key);
        }
    }
}

/// The error of a transaction that lived too long.
pub fn too_old() -> StoreError {
    StoreError::TooOld { limit_ms: u64::try_from(TRANSACTION_TIME_MAX.as_millis()).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::optimistic::write_set::Write;

    fn range(begin: u8, end: u8) -> KeyRange {
        KeyRange { begin: Bytes::copy_from_slice(&[begin]), end: Bytes::copy_from_slice(&[end]) }
    }

    fn request(read_version: u64, reads: Vec<KeyRange>, marks: Vec<KeyRange>) -> CommitRequest {
        CommitRequest { read_version: Some(CommitVersion(read_version)), reads, marks, ..CommitRequest::default() }
    }

    fn writing(key: &[u8]) -> CommitRequest {
        let writes = BTreeMap::from([(Bytes::copy_from_slice(key), Write::Value(None))]);
        CommitRequest { writes, ..CommitRequest::default() }
    }

    #[test]
    fn memory_of_writes_ends_when_no_transaction_can_be_that_old() {
        let mut conflicts = Conflicts::new(CommitVersion(0));
        for version in 1..=1000 {
            let key = u64::to_be_bytes(version);
            let mut commit = request(0, vec![], vec![KeyRange::point(&key)]);
            commit.writes = writing(&key).writes;
            conflicts.record(&commit, CommitVersion(version), Duration::from_millis(100 * version));
        }
        assert!(conflicts.intervals.len() < 500, "{}", conflicts.intervals.len());
        assert!(conflicts.keys.len() < 500, "{}", conflicts.keys.len());
        assert!(matches!(conflicts.check(&request(1, vec![range(1, 2)], vec![])), Err(StoreError::TooOld { .. })));
    }

    proptest! {
        #[test]
        fn the_last_write_of_a_range_is_the_greatest_of_its_keys(
            writes in proptest::collection::vec((0u8..30, 1u8..10), 0..60),
            reads in proptest::collection::vec((0u8..30, 1u8..10), 0..20),
        ) {
            let mut conflicts = Conflicts::new(CommitVersion(0));
            let mut model: HashMap<u8, u64> = HashMap::new();
            for (version, &(begin, length)) in (1..).zip(&writes) {
                // A write of one key is recorded as such, one of several as a range.
                let commit = match length {
                    1 => writing(&[begin]),
                    _ => request(0, vec![], vec![range(begin, begin + length)]),
                };
                conflicts.record(&commit, CommitVersion(version), Duration::ZERO);
                model.extend((begin..begin + length).map(|key| (key, version)));
            }
            for (begin, length) in reads {
                let read = if length == 1 { KeyRange::point(&[begin]) } else { range(begin, begin + length) };
                let expected = (begin..begin + length).filter_map(|key| model.get(&key)).max().copied();
                let found = conflicts.last_write(&read);
                prop_assert_eq!(found, CommitVersion(expected.unwrap_or(0)));
            }
        }
    }
}
