//! Receipts a second: concurrent sessions hold, settle and write receipts on the embedded store with every commit
//! synced to disk, while the log's entity sequences them. Run with `cargo bench -p steward-actors --bench receipts`.
//!
//! Each step is what a billable step of a session is: one transaction that holds, one that settles and writes the
//! receipt. The clock stops when every receipt is in the signed log and the audit has found everything exact.
//! `STEWARD_BENCH_STEPS` and `STEWARD_BENCH_SESSIONS` change the size; a run is repeated and the median printed.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use steward_actors::budget::{
    AccountId, AuditReceipts, HoldRequest, LedgerError, Period, audit, close_account, open_project, open_session,
    reserve, settle, step_hold,
};
use steward_actors::host::{EntityId, HostBuilder};
use steward_actors::lease::SoleLease;
use steward_actors::receipt_log::{
    LogIdentity, ReceiptLog, ReceiptLogEnvironment, ReceiptLogRequest, ReceiptLogResponse, append_pending,
};
use steward_receipts::{Hash, Leaf};
use steward_storage::{Store, StoreExt, Txn};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Clock, Micros, ProjectId, SessionId, StepPath, SystemClock};
use tokio::task::JoinSet;

type BoxError = Box<dyn Error + Send + Sync>;

const RUNS: usize = 3;
const PRICE: Micros = Micros::new(7);

/// One run's figures.
struct Figures {
    receipts: u64,
    wall: Duration,
    stepped: Duration,
    cpu: Option<Duration>,
}

impl Figures {
    fn a_second(&self) -> f64 {
        self.receipts as f64 / self.wall.as_secs_f64()
    }
}

fn size(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The CPU time of this process, from Linux's `/proc/self/stat`, whose ticks are a hundredth of a second.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

fn leaf(account: &AccountId, session: SessionId, step: u32, clock: &dyn Clock) -> Result<Leaf, BoxError> {
    let path = StepPath::top(step);
    Ok(Leaf {
        project: account.project.clone(),
        agent: account.agent.clone().ok_or("a session has an agent")?,
        session,
        turn: 1,
        hold: step_hold(session, 1, &path),
        step: path,
        function: "chat".parse()?,
        model: None,
        prompt_hash: Hash::of(b"prompt"),
        response_hash: Hash::of(b"response"),
        tokens_in: 10,
        tokens_out: 20,
        duration_ms: 30,
        price: PRICE,
        time: clock.now(),
    })
}

async fn run_session(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    account: AccountId,
    session: SessionId,
    steps: u32,
) -> Result<(), BoxError> {
    store.run(async |txn: Txn| open_session(&txn, &account, None, clock.now()).await).await?;
    for step in 1..=steps {
        let leaf = leaf(&account, session, step, &*clock)?;
        let request = HoldRequest {
            hold: leaf.hold,
            step: format!("1/{step}"),
            function: "chat".to_owned(),
            worst_case: Micros::new(20),
            expires_at: None,
        };
        store.run(async |txn: Txn| reserve(&txn, &account, &request, clock.now()).await).await?;
        let finish = async |txn: Txn| {
            settle(&txn, &account, leaf.hold, PRICE, clock.now()).await?;
            append_pending(&txn, &leaf).await?;
            Ok::<_, LedgerError>(())
        };
        store.run(finish).await?;
    }
    store.run(async |txn: Txn| close_account(&txn, &account, clock.now()).await).await?;
    Ok(())
}

async fn measure(sessions: u64, steps: u32) -> Result<Figures, BoxError> {
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&EmbeddedConfig::new(folder.path()), Arc::clone(&clock))?);
    let project: ProjectId = "bench".parse()?;
    store.run(async |txn: Txn| open_project(&txn, &project, None, Period::None, clock.now()).await).await?;
    let identity = Arc::new(LogIdentity::new("bench.example".to_owned(), [7; 32])?);
    let lease = Arc::new(SoleLease::take(&*store).await?);
    let environment = ReceiptLogEnvironment { store: Arc::clone(&store), identity };
    let host = HostBuilder::new(Arc::clone(&clock), lease).register::<ReceiptLog>(environment).start().await?;
    let log = EntityId::from(&project);
    host.ask::<ReceiptLog>(&log, ReceiptLogRequest::Wake, host.deadline_default()).await?;

    let (started, cpu_started) = (clock.monotonic(), cpu_time());
    let mut tasks = JoinSet::new();
    for number in 0..sessions {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let session = SessionId::from_bytes(id);
        let account = AccountId::session(project.clone(), "bot".parse()?, session);
        tasks.spawn(run_session(Arc::clone(&store), Arc::clone(&clock), account, session, steps));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let stepped = clock.monotonic() - started;
    let answer = host.ask::<ReceiptLog>(&log, ReceiptLogRequest::Flush, host.deadline(Duration::from_secs(60))).await?;
    let (wall, cpu) = (clock.monotonic() - started, cpu_time().zip(cpu_started).map(|(now, then)| now - then));

    let ReceiptLogResponse::Head(Some(head)) = answer else { return Err(format!("no log: {answer:?}").into()) };
    let receipts = sessions * u64::from(steps);
    let audit = audit(&*store, &project, AuditReceipts::Compare).await?;
    if head.size != receipts || audit.receipts != receipts || !audit.is_exact() {
        return Err(format!("{receipts} steps, a log of {}, {audit:#?}", head.size).into());
    }
    Ok(Figures { receipts, wall, stepped, cpu })
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn report(sessions: u64, mut runs: Vec<Figures>) {
    runs.sort_by(|a, b| a.a_second().total_cmp(&b.a_second()));
    for run in &runs {
        println!(
            "{} receipts, {sessions} sessions: {:.0} a second (steps {:.2} s, all in the log after {:.2} s{})",
            run.receipts,
            run.a_second(),
            run.stepped.as_secs_f64(),
            run.wall.as_secs_f64(),
            run.cpu.map_or_else(String::new, |cpu| format!(
                ", CPU {:.0} µs a receipt",
                cpu.as_secs_f64() * 1e6 / run.receipts as f64
            )),
        );
    }
    println!("median: {:.0} receipts a second", runs[runs.len() / 2].a_second());
}

fn main() -> Result<(), BoxError> {
    let (sessions, steps) = (size("STEWARD_BENCH_SESSIONS", 256), size("STEWARD_BENCH_STEPS", 25_600));
    let steps_each = u32::try_from(steps.div_ceil(sessions))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(runtime.block_on(measure(sessions, steps_each))?);
    }
    report(sessions, runs);
    Ok(())
}
