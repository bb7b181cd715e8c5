//! A server that is killed and paused again and again while tasks commit. Nothing that was acknowledged may be
//! missing, nothing may be there in part, and what is counted must be exact, commits of unknown outcome included.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use steward_storage::{AtomicOp, Isolation, RangeRead, Store, StoreError, StoreExt, Txn, key};
use steward_storage_fdb::{FdbConfig, FdbStore};
use steward_types::{Clock, Entropy, SeededEntropy, SystemClock, SystemEntropy};
use tokio::task::JoinSet;

use crate::server::own_cluster;

/// Names the variable that says how many faults, for a longer run.
const FAULTS: &str = "STEWARD_KILL_TEST_FAULTS";
const FAULTS_DEFAULT: u64 = 20;
const WORKERS: u64 = 8;
const ACCOUNTS: u64 = 6;
const OPENING_BALANCE: u64 = 1_000;
/// Transfers that must be acknowledged between two faults: the test heals as well as it breaks.
const PROGRESS_MAX: u64 = 150;
/// Long enough that FoundationDB takes a process for dead, or not.
const PAUSE_MS_MAX: u64 = 4_000;
/// Generous: it is a machine's full load that it allows for, not FoundationDB's recovery.
const HEALING_TIME_MAX: Duration = Duration::from_secs(180);

type Transfer = (u64, u64);

#[derive(Default)]
struct Progress {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    unavailable: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Returns once so many transfers are acknowledged. It fails when the cluster does not heal.
    async fn reach(&self, acknowledged: u64, clock: &dyn Clock) {
        let begun = clock.monotonic();
        while self.acknowledged.load(Ordering::Relaxed) < acknowledged {
            assert!(clock.monotonic() - begun < HEALING_TIME_MAX, "nothing went on after the last fault");
            clock.sleep(Duration::from_millis(1)).await;
        }
    }
}

fn account(number: u64) -> Vec<u8> {
    key::pack(&("account", number))
}

async fn balance(txn: &Txn, number: u64) -> Result<u64, StoreError> {
    let bytes = txn.get(&account(number), Isolation::Serializable).await?;
    Ok(bytes.map_or(OPENING_BALANCE, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap())))
}

/// Moves one unit and notes it in rows far apart: by name, under a versionstamp, and in a count that never conflicts.
async fn transfer(txn: Txn, transfer: Transfer, from: u64, to: u64) -> Result<(), StoreError> {
    let (source, target) = (balance(&txn, from).await?, balance(&txn, to).await?);
    let moved = source.min(1);
    txn.set(&account(from), &(source - moved).to_le_bytes())?;
    txn.set(&account(to), &(target + moved).to_le_bytes())?;
    let name = key::pack(&transfer);
    txn.set(&[&key::pack(&("done",))[..], &name].concat(), &[7; 300])?;
    txn.set_versionstamped_key(&key::pack(&("log",)), &name, b"")?;
    txn.atomic(&key::pack(&("count",)), AtomicOp::Add, 1)
}

/// Commits until it is told to stop; what it did is acknowledged, or tried and of unknown end.
async fn work(store: FdbStore, worker: u64, progress: Arc<Progress>) -> (BTreeSet<Transfer>, BTreeSet<Transfer>) {
    let (entropy, mut acknowledged, mut open) = (SeededEntropy::new(worker), BTreeSet::new(), BTreeSet::new());
    for number in 0.. {
        if progress.stop.load(Ordering::Relaxed) {
            break;
        }
        let (from, step) = (entropy.next_u64() % ACCOUNTS, 1 + entropy.next_u64() % (ACCOUNTS - 1));
        let marker = key::pack(&("marker", worker, number));
        let body = |txn| transfer(txn, (worker, number), from, (from + step) % ACCOUNTS);
        match store.run_idempotent(&marker, body).await {
            Ok(()) => {
                progress.acknowledged.fetch_add(1, Ordering::Relaxed);
                acknowledged.insert((worker, number));
            }
            Err(StoreError::Unavailable { .. }) => {
                progress.unavailable.fetch_add(1, Ordering::Relaxed);
                open.insert((worker, number));
            }
            Err(error) if error.is_retryable() => {
                progress.unknown.fetch_add(1, Ordering::Relaxed);
                open.insert((worker, number));
            }
            Err(error) => panic!("worker {worker}: {error}"),
        }
    }
    (acknowledged, open)
}

async fn scan(store: &FdbStore, prefix: Vec<u8>) -> Vec<(bytes::Bytes, bytes::Bytes)> {
    let (txn, mut next, mut rows) = (store.begin(), Some(RangeRead::prefix(&prefix).snapshot()), Vec::new());
    while let Some(range) = next {
        let page = txn.range(range.clone()).await.unwrap();
        next = range.after(&page);
        rows.extend(page.rows);
    }
    rows
}

async fn check(store: &FdbStore, acknowledged: &BTreeSet<Transfer>, open: &BTreeSet<Transfer>) {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let balances = scan(store, key::pack(&("account",))).await;
    let untouched = ACCOUNTS - balances.len() as u64;
    let held: u64 = balances.iter().map(|(_, bytes)| number(bytes)).sum();
    assert_eq!(held + untouched * OPENING_BALANCE, ACCOUNTS * OPENING_BALANCE, "money was made or lost");

    let done_prefix = key::pack(&("done",));
    let done = scan(store, done_prefix.clone()).await;
    let done: BTreeSet<Transfer> =
        done.iter().map(|(row, _)| key::unpack(&row[done_prefix.len()..]).unwrap()).collect();
    let missing: Vec<_> = acknowledged.difference(&done).collect();
    assert!(missing.is_empty(), "acknowledged and not there: {missing:?}");
    let unasked: Vec<_> = done.iter().filter(|row| !acknowledged.contains(row) && !open.contains(row)).collect();
    assert!(unasked.is_empty(), "there and never tried: {unasked:?}");

    let log_prefix = key::pack(&("log",));
    let log = scan(store, log_prefix.clone()).await;
    let logged: Vec<Transfer> =
        log.iter().map(|(row, _)| key::unpack(&row[log_prefix.len() + 10..]).unwrap()).collect();
    assert_eq!(logged.len(), done.len(), "a transfer took effect twice, or is there in part");
    assert_eq!(logged.iter().copied().collect::<BTreeSet<_>>(), done, "a transfer is there in part");
    for worker in 0..WORKERS {
        let own: Vec<_> = logged.iter().filter(|(by, _)| *by == worker).collect();
        assert!(own.is_sorted(), "versionstamps went back for worker {worker}");
    }
    let count = store.begin().get(&key::pack(&("count",)), Isolation::Snapshot).await.unwrap().unwrap();
    assert_eq!(number(&count), done.len() as u64, "the count is not exact");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_and_stalls_loses_and_doubles_nothing() {
    check_faults("a_server_that_dies_and_stalls_loses_and_doubles_nothing", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_processes_die_and_stall_loses_and_doubles_nothing() {
    check_faults("a_cluster_whose_processes_die_and_stall_loses_and_doubles_nothing", 3).await;
}

/// Strikes a cluster of so many processes while tasks commit, and checks what is there in the end.
async fn check_faults(test: &str, processes: usize) {
    let Some((mut cluster, _folder)) = own_cluster(test, processes).await else { return };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = FdbStore::open(&FdbConfig::new(cluster.cluster_file()), Arc::clone(&clock)).unwrap();
    let (progress, mut workers) = (Arc::new(Progress::default()), JoinSet::new());
    for worker in 0..WORKERS {
        workers.spawn(work(store.clone(), worker, Arc::clone(&progress)));
    }
    let faults = std::env::var(FAULTS).map_or(FAULTS_DEFAULT, |text| text.parse().unwrap());
    let (mut kills, mut pauses) = (0, 0);
    for fault in 0..faults {
        let until = progress.acknowledged.load(Ordering::Relaxed) + 1 + SystemEntropy.next_u64() % PROGRESS_MAX;
        progress.reach(until, &*clock).await;
        let victim = usize::try_from(SystemEntropy.next_u64()).unwrap() % processes;
        if fault.is_multiple_of(2) {
            cluster.kill(victim).await.unwrap();
            cluster.start_again(victim).unwrap();
            kills += 1;
        } else {
            let how_long = Duration::from_millis(SystemEntropy.next_u64() % PAUSE_MS_MAX);
            cluster.pause(victim).unwrap();
            clock.sleep(how_long).await;
            cluster.resume(victim).unwrap();
            pauses += 1;
        }
    }
    let until = progress.acknowledged.load(Ordering::Relaxed) + PROGRESS_MAX;
    progress.reach(until, &*clock).await;
    progress.stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut open) = (BTreeSet::new(), BTreeSet::new());
    while let Some(done) = workers.join_next().await {
        let (of_worker, open_of_worker) = done.unwrap();
        acknowledged.extend(of_worker);
        open.extend(open_of_worker);
    }
    check(&store, &acknowledged, &open).await;
    let (unknown, unavailable) =
        (progress.unknown.load(Ordering::Relaxed), progress.unavailable.load(Ordering::Relaxed));
    println!(
        "{processes} processes, {kills} kills, {pauses} pauses: {} transfers acknowledged and checked, {unknown} given \
         up as unknown, {unavailable} as unavailable",
        acknowledged.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_cluster_is_unavailable_and_usable_once_it_is_back() {
    let test = "a_dead_cluster_is_unavailable_and_usable_once_it_is_back";
    let Some((mut server, _folder)) = own_cluster(test, 1).await else { return };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = FdbStore::open(&FdbConfig::new(server.cluster_file()), Arc::clone(&clock)).unwrap();
    let write = |txn: Txn| async move { txn.set(b"k", b"v") };
    store.run(write).await.unwrap();
    let watching = store.begin();
    let watch = watching.watch(b"k").unwrap();
    watching.commit().await.unwrap();
    let dead = async {
        let read = store.begin().get(b"k", Isolation::Serializable).await.unwrap_err();
        assert!(matches!(read, StoreError::Unavailable { .. }), "{read:?}");
        let blind = store.begin();
        blind.set(b"k", b"late").unwrap();
        let commit = blind.commit().await.unwrap_err();
        assert!(matches!(commit, StoreError::CommitUnknown), "{commit:?}");
        let next = store.begin().get(b"k", Isolation::Snapshot).await.unwrap_err();
        assert!(matches!(next, StoreError::Unavailable { .. }), "what is unsettled holds the next back: {next:?}");
    };
    server.pause(0).unwrap();
    dead.await;
    server.resume(0).unwrap();
    let settled = loop {
        match store.begin().get(b"k", Isolation::Snapshot).await {
            Ok(value) => break value.unwrap(),
            Err(error) => assert!(matches!(error, StoreError::Unavailable { .. } | StoreError::Conflict), "{error:?}"),
        }
    };
    store.run(|txn: Txn| async move { txn.set(b"k", b"new") }).await.unwrap();
    let value = store.begin().get(b"k", Isolation::Snapshot).await.unwrap().unwrap();
    assert_eq!(&value[..], b"new", "the late commit came after it (it had settled as {settled:?})");
    watch.await.unwrap();
}
