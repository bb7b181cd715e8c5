//! Generated concurrent histories, checked for strict serializability.
//!
//! Workers run random transactions and note what each read and when it began and ended. Each that writes leaves a row
//! under a versionstamped key: that is the order that the store claims. The check replays all transactions in that
//! order on a plain map and compares every read, then checks that the order agrees with real time: who ended before
//! another began comes before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use steward_types::{Entropy, SeededEntropy};
use tokio::task::JoinSet;

use super::{Outcome, SuiteClock};
use crate::{AtomicOp, CommitVersion, Isolation, RangeRead, Store, StoreError, Txn};

const KEYS: u64 = 16;

/// The plain map that a store is compared with.
pub type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// One operation of a random transaction.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Reads a key.
    Get(Vec<u8>),
    /// Reads a range.
    Range(RangeRead),
    /// Writes a key.
    Set(Vec<u8>, Vec<u8>),
    /// Removes a key.
    Clear(Vec<u8>),
    /// Removes a range.
    ClearRange(Vec<u8>, Vec<u8>),
    /// Changes a key without reading it.
    Atomic(Vec<u8>, AtomicOp, u64),
}

/// What an operation read: rows, and whether there were more.
pub type Seen = (Vec<(Vec<u8>, Vec<u8>)>, bool);

impl Operation {
    /// Reads every key that a [`Generator`] writes.
    pub fn read_all() -> Self {
        Self::Range(RangeRead::prefix(b"h/"))
    }

    /// Does it in a transaction.
    ///
    /// # Errors
    /// Those of the transaction.
    pub async fn run(&self, txn: &Txn) -> Result<Seen, StoreError> {
        match self {
            Self::Get(key) => {
                let value = txn.get(key, Isolation::Serializable).await?;
                return Ok((value.into_iter().map(|value| (key.clone(), value.to_vec())).collect(), false));
            }
            Self::Range(range) => {
                let page = txn.range(range.clone()).await?;
                let owned = |(key, value): (Bytes, Bytes)| (key.to_vec(), value.to_vec());
                return Ok((page.rows.into_iter().map(owned).collect(), page.more));
            }
            Self::Set(key, value) => txn.set(key, value)?,
            Self::Clear(key) => txn.clear(key)?,
            Self::ClearRange(begin, end) => txn.clear_range(begin, end)?,
            Self::Atomic(key, op, operand) => txn.atomic(key, *op, *operand)?,
        }
        Ok(Seen::default())
    }

    /// Does it on the model.
    pub fn replay(&self, model: &mut Model) -> Seen {
        match self {
            Self::Get(key) => {
                return (model.get(key).map(|value| (key.clone(), value.clone())).into_iter().collect(), false);
            }
            Self::Range(range) => return replay_range(range, model),
            Self::Set(key, value) => drop(model.insert(key.clone(), value.clone())),
            Self::Clear(key) => drop(model.remove(key)),
            Self::ClearRange(begin, end) => model.retain(|key, _| !(begin <= key && key < end)),
            Self::Atomic(key, op, operand) => {
                let value = op.apply(model.get(key).map(Vec::as_slice), *operand);
                model.insert(key.clone(), value.to_vec());
            }
        }
        Seen::default()
    }

    /// Whether a transaction with this operation gets a commit version of its own.
    fn writes(&self) -> bool {
        match self {
            Self::Get(_) | Self::Range(_) => false,
            Self::ClearRange(begin, end) => begin < end,
            Self::Set(..) | Self::Clear(_) | Self::Atomic(..) => true,
        }
    }
}

fn replay_range(range: &RangeRead, model: &Model) -> Seen {
    let within = model.iter().filter(|(key, _)| range.begin <= **key && **key < range.end);
    let mut rows: Vec<_> = within.map(|(key, value)| (key.clone(), value.clone())).collect();
    if range.reverse {
        rows.reverse();
    }
    let more = rows.len() > range.limit;
    rows.truncate(range.limit);
    (rows, more && range.limit > 0)
}

/// Whether what was seen is what was expected. A limited read depends on nothing behind its last row, so it may say
/// that there may be more where by now there is not; it must never say that there is not where there is.
pub fn agrees(seen: &Seen, expected: &Seen) -> bool {
    seen.0 == expected.0 && (seen.1 || !expected.1)
}

/// Makes random operations, the same for the same seed.
#[derive(Debug)]
pub struct Generator {
    entropy: SeededEntropy,
}

impl Generator {
    /// From `seed`.
    pub fn new(seed: u64) -> Self {
        Self { entropy: SeededEntropy::new(seed) }
    }

    fn below(&self, bound: u64) -> u64 {
        self.entropy.next_u64() % bound
    }

    fn key(&self) -> Vec<u8> {
        format!("h/{:02}", self.below(KEYS)).into_bytes()
    }

    fn bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let (a, b) = (self.key(), self.key());
        if a <= b { (a, b) } else { (b, a) }
    }

    /// The next operation.
    pub fn operation(&mut self) -> Operation {
        match self.below(20) {
            0..=6 => Operation::Get(self.key()),
            7..=10 => {
                let ((begin, end), limit) = (self.bounds(), 1 + self.below(8));
                let limit = usize::try_from(limit).unwrap_or(1);
                let read = RangeRead::new(begin, end).limit(limit);
                Operation::Range(if self.below(2) == 0 { read } else { read.reversed() })
            }
            11..=14 => Operation::Set(self.key(), self.entropy.next_u64().to_le_bytes().to_vec()),
            15 => Operation::Clear(self.key()),
            16 => {
                let (begin, end) = self.bounds();
                Operation::ClearRange(begin, end)
            }
            17 | 18 => Operation::Atomic(self.key(), AtomicOp::Add, self.below(100)),
            _ => Operation::Atomic(self.key(), AtomicOp::Max, self.entropy.next_u64()),
        }
    }

    /// The operations of one transaction.
    pub fn transaction(&mut self) -> Vec<Operation> {
        (0..1 + self.below(6)).map(|_| self.operation()).collect()
    }
}

/// A committed transaction: what it did and saw, and when.
#[derive(Debug, Clone)]
pub struct Committed {
    operations: Vec<(Operation, Seen)>,
    version: CommitVersion,
    /// The name under which it stands in the log of commits, if it writes; other transactions that write may have the
    /// same version.
    name: Vec<u8>,
    began: u64,
    ended: u64,
}

impl Committed {
    fn reads_only(&self) -> bool {
        !self.operations.iter().any(|(operation, _)| operation.writes())
    }
}

/// A history and how many transactions of it were refused.
#[derive(Debug, Default)]
pub struct History {
    committed: Vec<Committed>,
    refused: usize,
    /// The names of those that wrote, in the store's order.
    order: Vec<Vec<u8>>,
}

/// Runs `workers` times `transactions` random transactions at once.
///
/// # Errors
/// Whatever the store says other than that a transaction may be retried.
pub async fn generate(
    store: &Arc<dyn Store>,
    seed: u64,
    workers: u64,
    transactions: usize,
) -> Result<History, StoreError> {
    let (moments, mut tasks) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for worker in 0..workers {
        let (store, moments) = (Arc::clone(store), Arc::clone(&moments));
        tasks.spawn(async move {
            let mut generator = Generator::new(seed.wrapping_mul(1_000_003).wrapping_add(worker));
            let mut own = History::default();
            for number in 0..transactions {
                let name = format!("{seed}/{worker}/{number}").into_bytes();
                match attempt(&*store, generator.transaction(), name, &moments).await {
                    Ok(committed) => own.committed.push(committed),
                    Err(error) if error.is_retryable() => own.refused += 1,
                    Err(error) => return Err(error),
                }
            }
            Ok(own)
        });
    }
    let mut history = History::default();
    while let Some(done) = tasks.join_next().await {
        let own = done.expect("a worker panicked")?;
        history.committed.extend(own.committed);
        history.refused += own.refused;
    }
    history.order = order(&**store, seed).await?;
    Ok(history)
}

/// Where a transaction that writes leaves its name, behind a versionstamp.
const LOG: &[u8] = b"h-log/";

async fn order(store: &dyn Store, seed: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    let (txn, mut next, mut names) = (store.begin(), Some(RangeRead::prefix(LOG).snapshot()), Vec::new());
    let own = format!("{seed}/").into_bytes();
    while let Some(range) = next {
        let page = txn.range(range.clone()).await?;
        names.extend(page.rows.iter().map(|(_, name)| name.to_vec()).filter(|name| name.starts_with(&own)));
        next = range.after(&page);
    }
    Ok(names)
}

async fn attempt(
    store: &dyn Store,
    plan: Vec<Operation>,
    name: Vec<u8>,
    moments: &AtomicU64,
) -> Result<Committed, StoreError> {
    let began = moments.fetch_add(1, Ordering::SeqCst);
    let (txn, mut operations) = (store.begin(), Vec::new());
    for operation in plan {
        let seen = operation.run(&txn).await?;
        operations.push((operation, seen));
        // Others get in between, so that transactions overlap also on one thread.
        tokio::task::yield_now().await;
    }
    if operations.iter().any(|(operation, _)| operation.writes()) {
        txn.set_versionstamped_key(LOG, b"", &name)?;
    }
    let version = txn.commit().await?;
    Ok(Committed { operations, version, name, began, ended: moments.fetch_add(1, Ordering::SeqCst) })
}

/// Checks a history that began on an empty store.
///
/// # Errors
/// What is wrong with it, naming the transaction.
pub fn verify(history: &History, final_rows: &Seen) -> Result<(), String> {
    let places: BTreeMap<&[u8], usize> = history.order.iter().enumerate().map(|(at, name)| (&name[..], at)).collect();
    let mut ordered: Vec<&Committed> = history.committed.iter().collect();
    // A reader stands behind the writers of the version that it read at.
    ordered
        .sort_by_key(|committed| (committed.version, committed.reads_only(), places.get(&committed.name[..]).copied()));
    let writers: Vec<&[u8]> =
        ordered.iter().filter(|committed| !committed.reads_only()).map(|committed| &committed.name[..]).collect();
    if writers != history.order {
        return Err("the log of commits is not what committed, in the order of the commit versions".into());
    }
    let mut model = Model::new();
    for committed in &ordered {
        for (operation, seen) in &committed.operations {
            let expected = operation.replay(&mut model);
            if !agrees(seen, &expected) {
                let at = committed.version;
                return Err(format!("at {at:?}, {operation:?} saw {seen:?} where the order gives {expected:?}"));
            }
        }
    }
    if !agrees(final_rows, &Operation::read_all().replay(&mut model)) {
        return Err("what is stored in the end is not what the committed transactions wrote".into());
    }
    verify_real_time(&ordered)
}

fn verify_real_time(ordered: &[&Committed]) -> Result<(), String> {
    let mut by_start = ordered.to_vec();
    by_start.sort_by_key(|committed| committed.began);
    let mut by_end = ordered.to_vec();
    by_end.sort_by_key(|committed| committed.ended);
    let (mut ended, mut latest) = (by_end.into_iter().peekable(), CommitVersion::default());
    for later in by_start {
        while let Some(earlier) = ended.next_if(|earlier| earlier.ended < later.began) {
            latest = latest.max(earlier.version);
        }
        let in_order = if later.reads_only() { latest <= later.version } else { latest < later.version };
        if !in_order {
            return Err(format!("{later:?} began after a transaction at {latest:?} had ended"));
        }
    }
    Ok(())
}

pub(super) async fn random_histories_are_strictly_serializable(
    store: Arc<dyn Store>,
    _clock: Arc<SuiteClock>,
) -> Outcome {
    let mut refused = 0;
    for seed in 0..6 {
        let clearing = store.begin();
        clearing.clear_range(b"h/", b"h0")?;
        clearing.commit().await?;
        let history = generate(&store, seed, 8, 100).await?;
        let final_rows = Operation::read_all().run(&store.begin()).await?;
        if let Err(wrong) = verify(&history, &final_rows) {
            panic!("the history of seed {seed} is not strictly serializable: {wrong}");
        }
        assert!(history.committed.len() > 100, "seed {seed}: only {} committed", history.committed.len());
        refused += history.refused;
    }
    assert!(refused > 50, "only {refused} transactions met another: the histories show nothing");
    Ok(())
}
