//! A process that commits is killed again and again at random points; nothing that it acknowledged may be missing and
//! nothing may be there in part.
//!
//! The test runs its own binary as the process: the ignored test below, told by an environment variable where to
//! commit. Workers move money between accounts and log each transfer in the same transaction; each says "try" before
//! and "ok" behind a commit, on the standard output that the test reads.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use steward_storage::{Isolation, RangeRead, Store, StoreError, StoreExt, Txn, key};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Entropy, SeededEntropy, SystemClock, SystemEntropy};
use tempfile::TempDir;
use tokio::task::JoinSet;

const FOLDER: &str = "STEWARD_KILL_TEST_FOLDER";
const LIFE: &str = "STEWARD_KILL_TEST_LIFE";
/// Names the variable that says how many kills, for a longer run.
const KILLS: &str = "STEWARD_KILL_TEST_KILLS";
const KILLS_DEFAULT: u64 = 25;
const WORKERS: u64 = 8;
const ACCOUNTS: u64 = 6;
const OPENING_BALANCE: u64 = 1_000;

type Transfer = (u64, u64, u64);

fn open(folder: &std::path::Path) -> EmbeddedStore {
    let config = EmbeddedConfig { journal_bytes_max: 64 << 20, ..EmbeddedConfig::new(folder) };
    EmbeddedStore::open(&config, Arc::new(SystemClock::new())).unwrap()
}

fn account(number: u64) -> Vec<u8> {
    key::pack(&("account", number))
}

async fn balance(txn: &Txn, number: u64) -> Result<u64, StoreError> {
    let bytes = txn.get(&account(number), Isolation::Serializable).await?;
    Ok(bytes.map_or(OPENING_BALANCE, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap())))
}

/// Moves one unit and notes it: in three rows whose keys lie far apart, one of them under a versionstamp.
async fn transfer(txn: Txn, (life, worker, number): Transfer, from: u64, to: u64) -> Result<(), StoreError> {
    let (source, target) = (balance(&txn, from).await?, balance(&txn, to).await?);
    let moved = source.min(1);
    txn.set(&account(from), &(source - moved).to_le_bytes())?;
    txn.set(&account(to), &(target + moved).to_le_bytes())?;
    let name = key::pack(&(life, worker, number));
    txn.set(&[&key::pack(&("done",))[..], &name].concat(), &[7; 300])?;
    txn.set_versionstamped_key(&key::pack(&("log",)), &name, b"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that the test below kills"]
async fn the_process_that_commits() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let life: u64 = std::env::var(LIFE).unwrap().parse().unwrap();
    let store = Arc::new(open(folder.as_ref()));
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let store = Arc::clone(&store);
        workers.spawn(async move {
            let entropy = SeededEntropy::new(life * WORKERS + worker);
            for number in 0..u64::MAX {
                let (from, step) = (entropy.next_u64() % ACCOUNTS, 1 + entropy.next_u64() % (ACCOUNTS - 1));
                say("try", life, worker, number);
                let named = (life, worker, number);
                store.run(|txn| transfer(txn, named, from, (from + step) % ACCOUNTS)).await.unwrap();
                say("ok", life, worker, number);
            }
        });
    }
    workers.join_all().await;
}

fn say(what: &str, life: u64, worker: u64, number: u64) {
    // One write a line, so that lines of several threads do not mix; a pipe that is gone ends the process.
    let line = format!("{what} {life} {worker} {number}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// What the killed processes said, and how many commits were in flight when they died.
#[derive(Default)]
struct Said {
    tried: BTreeSet<Transfer>,
    acknowledged: BTreeSet<Transfer>,
    kills_in_flight: u64,
}

fn start(folder: &std::path::Path, life: u64) -> Child {
    let this_binary = std::env::current_exe().unwrap();
    let mut command = Command::new(this_binary);
    command.args(["--ignored", "--exact", "the_process_that_commits", "--nocapture"]);
    command.env(FOLDER, folder).env(LIFE, life.to_string()).env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// Lets a process acknowledge some commits, kills it in between two lines, and reads what it had said by then.
fn run_and_kill(folder: &std::path::Path, life: u64, said: &mut Said) {
    let mut child = start(folder, life);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let enough = 1 + SystemEntropy.next_u64() % 200;
    let mut own = Said::default();
    for line in lines.by_ref().map(Result::unwrap) {
        note(&line, &mut own);
        if own.acknowledged.len() as u64 >= enough {
            break;
        }
    }
    child.kill().unwrap();
    lines.map_while(Result::ok).for_each(|line| note(&line, &mut own));
    assert!(!child.wait().unwrap().success(), "the process ended by itself");
    if own.tried.len() > own.acknowledged.len() {
        said.kills_in_flight += 1;
    }
    said.tried.append(&mut own.tried);
    said.acknowledged.append(&mut own.acknowledged);
}

fn note(line: &str, said: &mut Said) {
    let words: Vec<&str> = line.split(' ').collect();
    let [what @ ("try" | "ok"), life, worker, number] = words[..] else { return };
    // The last line may be cut.
    let (Ok(life), Ok(worker), Ok(number)) = (life.parse(), worker.parse(), number.parse()) else { return };
    let set = if what == "ok" { &mut said.acknowledged } else { &mut said.tried };
    set.insert((life, worker, number));
}

async fn scan(store: &EmbeddedStore, prefix: Vec<u8>) -> Vec<(bytes::Bytes, bytes::Bytes)> {
    let (txn, mut next, mut rows) = (store.begin(), Some(RangeRead::prefix(&prefix)), Vec::new());
    while let Some(range) = next {
        let page = txn.range(range.clone()).await.unwrap();
        next = range.after(&page);
        rows.extend(page.rows);
    }
    rows
}

async fn check(store: &EmbeddedStore, said: &Said) {
    let balances = scan(store, key::pack(&("account",))).await;
    let untouched = ACCOUNTS - balances.len() as u64;
    let held: u64 = balances.iter().map(|(_, bytes)| u64::from_le_bytes(bytes[..].try_into().unwrap())).sum();
    assert_eq!(held + untouched * OPENING_BALANCE, ACCOUNTS * OPENING_BALANCE, "money was made or lost");

    let done_prefix = key::pack(&("done",));
    let done = scan(store, done_prefix.clone()).await;
    let done: BTreeSet<Transfer> =
        done.iter().map(|(row, _)| key::unpack(&row[done_prefix.len()..]).unwrap()).collect();
    let missing: Vec<_> = said.acknowledged.difference(&done).collect();
    assert!(missing.is_empty(), "acknowledged and not there: {missing:?}");
    let unasked: Vec<_> = done.difference(&said.tried).collect();
    assert!(unasked.is_empty(), "there and never tried: {unasked:?}");

    let log_prefix = key::pack(&("log",));
    let log = scan(store, log_prefix.clone()).await;
    let named = log.iter().map(|(row, _)| key::unpack::<Transfer>(&row[log_prefix.len() + 10..]).unwrap());
    let named: Vec<Transfer> = named.collect();
    assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), done, "a transaction is there in part");
    let mut last: BTreeMap<u64, Transfer> = BTreeMap::new();
    for transfer in named {
        if let Some(before) = last.insert(transfer.1, transfer) {
            assert!(before < transfer, "versionstamps went back: {before:?} behind {transfer:?}");
        }
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    let kills = std::env::var(KILLS).map_or(KILLS_DEFAULT, |text| text.parse().unwrap());
    let mut said = Said::default();
    for life in 1..=kills {
        run_and_kill(folder.path(), life, &mut said);
        if life % 5 == 0 {
            check(&open(folder.path()), &said).await;
        }
    }
    check(&open(folder.path()), &said).await;
    let hit = said.kills_in_flight;
    assert!(hit >= kills / 2, "only {hit} of {kills} kills met a commit in flight: the test shows nothing");
    println!("{kills} kills, {hit} of them with commits in flight, {} commits checked", said.acknowledged.len());
}
