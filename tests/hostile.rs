//! Scripts that mean harm, on a real node: each turn is stopped with its own error, and other sessions go on meanwhile.
//!
//! There is no case for a catastrophic regular expression: scripts have no function that takes one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::StreamExt as _;
use steward::client::Client;
use steward_api::proto::v1;
use steward_api::proto::v1::SessionEventKind as Kind;
use steward_types::ErrorCode;
use tokio::task::JoinSet;

use crate::tenant::{Tenant, run};

/// What one node may take of memory at its peak, hostile scripts and all. Their own limit is 64 MB each.
const PEAK_KIB_MAX: u64 = 1 << 20;

/// A script, what its manifest adds, and how its turn must fail.
struct Case {
    name: &'static str,
    script: &'static str,
    limits: &'static str,
    code: ErrorCode,
    /// What the failure's message says, so that each names the limit that it met.
    says: &'static str,
}

const fn case(
    name: &'static str,
    script: &'static str,
    limits: &'static str,
    code: ErrorCode,
    says: &'static str,
) -> Case {
    Case { name, script, limits, code, says }
}

const CASES: &[Case] = &[
    case(
        "endless-loop",
        "fn on_message(msg) { loop { } }",
        "[limits]\noperations = 5_000_000\n",
        ErrorCode::ScriptOperations,
        "its limit of 5000000 operations",
    ),
    case(
        "slow-loop",
        "fn on_message(msg) { loop { } }",
        "[limits]\nslice_ms = 200\n",
        ErrorCode::ScriptTime,
        "more than 200 ms",
    ),
    case(
        "endless-steps",
        "fn on_message(msg) { loop { now(); } }",
        "[limits]\nsteps = 500\n",
        ErrorCode::ScriptSteps,
        "its limit of 500 steps",
    ),
    case(
        "endless-recursion",
        "fn f(n) { f(n + 1) } fn on_message(msg) { f(0) }",
        "",
        ErrorCode::ScriptDepth,
        "calls passed their limit of 64 levels",
    ),
    case(
        "exponential-recursion",
        "fn f(n) { if n > 40 { 1 } else { f(n + 1) + f(n + 1) } } fn on_message(msg) { f(0) }",
        "[limits]\noperations = 5_000_000\n",
        ErrorCode::ScriptOperations,
        "its limit of 5000000 operations",
    ),
    case(
        "memory-bomb",
        "fn on_message(msg) { let s = \"x\"; loop { s += s; } }",
        "",
        ErrorCode::ScriptMemory,
        "a text, or all in one value, passed the limit of 1048576 bytes",
    ),
    case(
        "many-values",
        "fn f(n) { let s = \"\"; s.pad(1_000_000, 'x'); f(n + 1) } fn on_message(msg) { f(0) }",
        "[limits]\nmemory_mb = 8\n",
        ErrorCode::ScriptMemory,
        "values passed their limit of 8388608 bytes",
    ),
    case(
        "array-in-itself",
        "fn on_message(msg) { let a = []; loop { a.push(a); } }",
        "",
        ErrorCode::ScriptMemory,
        "an array or blob passed the limit of 100000 items",
    ),
    case(
        "huge-string",
        "fn on_message(msg) { let s = \"\"; s.pad(2_000_000_000, 'x'); }",
        "",
        ErrorCode::ScriptMemory,
        "a text, or all in one value, passed the limit of 1048576 bytes",
    ),
    case(
        "huge-array",
        "fn on_message(msg) { let a = []; a.pad(1_000_000_000, 1); }",
        "",
        ErrorCode::ScriptMemory,
        "an array or blob passed the limit of 100000 items",
    ),
    case(
        "huge-blob",
        "fn on_message(msg) { let b = blob(2_000_000_000, 0); }",
        "",
        ErrorCode::ScriptMemory,
        "an array or blob passed the limit of 100000 items",
    ),
    case(
        "ten-megabytes-of-text",
        "fn on_message(msg) { let s = \"\"; s.pad(10_000_000, 'x'); reply(s); }",
        "",
        ErrorCode::ScriptMemory,
        "a text, or all in one value, passed the limit of 1048576 bytes",
    ),
    case(
        "one-large-reply",
        "fn on_message(msg) { let s = \"\"; s.pad(1_000_000, 'x'); reply(s); }",
        "",
        ErrorCode::RequestTooLarge,
        "90000 are allowed",
    ),
    case(
        "ten-megabytes-of-replies",
        "fn on_message(msg) { let s = \"\"; s.pad(80_000, 'x'); for i in 0..130 { reply(s); } }",
        "[limits]\nsteps = 120\n",
        ErrorCode::ScriptSteps,
        "its limit of 120 steps",
    ),
    case(
        "cannot-be-caught",
        "fn on_message(msg) { loop { try { loop { } } catch { } } }",
        "[limits]\noperations = 5_000_000\n",
        ErrorCode::ScriptOperations,
        "its limit of 5000000 operations",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_scripts_are_stopped_each_with_its_own_error_while_others_are_served() {
    let tenant = Tenant::start().await;
    tenant.deploy("steady", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    for case in CASES {
        tenant.deploy(case.name, case.script, case.limits).await;
    }
    let steady = Steady::start(tenant.client.clone(), tenant.open("steady").await);
    let mut attacks = JoinSet::new();
    for case in CASES {
        let (client, session) = (tenant.client.clone(), tenant.open(case.name).await);
        let (turns, code) = (Arc::clone(&steady.turns), case.code);
        attacks.spawn(async move {
            let before = turns.load(Ordering::SeqCst);
            assert_failed(case, &failure_of(&client, &session, 1).await);
            // The session itself is served on: its next message gets a turn, and the same end.
            assert_failed(case, &failure_of(&client, &session, 2).await);
            (case.name, code, turns.load(Ordering::SeqCst) - before)
        });
    }
    let mut served_in_all = 0;
    while let Some(attacked) = attacks.join_next().await {
        let (name, code, served) = attacked.unwrap();
        println!("{name}: {code}; {served} turns of another session meanwhile");
        served_in_all = served.max(served_in_all);
    }
    assert!(served_in_all >= 3, "the other session had {served_in_all} turns while hostile scripts ran");
    let turns = steady.stop().await;
    // Every turn of the steady session paid for one chat; hostile scripts called nothing that costs.
    tenant.books_at_rest(turns).await;
    let peak = peak_memory_kib(tenant.node.id());
    println!("the node's memory at its peak: {} MiB", peak >> 10);
    assert!(peak < PEAK_KIB_MAX, "the node took {} MiB", peak >> 10);
}

/// Scripts that loop and take nothing but processor time, which their limit counts whoever else is busy.
#[tokio::test(flavor = "multi_thread")]
async fn other_sessions_have_their_turns_while_every_hostile_script_is_still_running() {
    const LOOPS: usize = 6;
    const TURNS: u64 = 10;
    let tenant = Tenant::start().await;
    tenant.deploy("steady", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    tenant.deploy("loop", "fn on_message(msg) { loop { } }", "").await;
    let steady = tenant.open("steady").await;
    let mut loops = Vec::new();
    for _ in 0..LOOPS {
        let id = tenant.open("loop").await;
        let message = Some(v1::Message { text: "go".to_owned(), data_json: String::new() });
        let request = v1::SendRequest { session: id.clone(), message, idempotency_key: String::new() };
        tenant.client.sessions().send(request).await.unwrap();
        loops.push(id);
    }
    for _ in 0..TURNS {
        assert_eq!(tenant.run(&steady, "still there?").await.reply, "still there?");
    }
    for session in loops {
        let request = v1::GetSessionRequest { session: session.clone() };
        let state = tenant.client.sessions().get(request).await.unwrap().into_inner().state();
        assert_eq!(state, v1::SessionState::Running, "it ended before {TURNS} turns of another session did");
        let request = v1::CancelTurnRequest { session, reason: "enough".to_owned() };
        tenant.client.sessions().cancel(request).await.unwrap();
    }
    tenant.books_at_rest(TURNS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_upload_is_refused_before_it_runs() {
    let tenant = Tenant::start().await;
    let nested = format!("fn on_message(msg) {{ {}1{} }}", "(".repeat(100_000), ")".repeat(100_000));
    let large = format!("fn on_message(msg) {{ }}\n// {}", "x".repeat(300 << 10));
    for script in [nested, large, "loop { } fn on_message(msg) { }".to_owned(), "\u{0}\u{feff}".repeat(1000)] {
        let bundle = v1::Bundle {
            files: [("agent.rhai".to_owned(), script)].into_iter().collect(),
            manifest_toml: "name = \"hostile\"\n".to_owned(),
        };
        let request = v1::DeployAgentRequest { project: String::new(), bundle: Some(bundle) };
        let refused = tenant.client.agents().deploy(request).await.unwrap_err();
        let told = steward::client::explain(&refused);
        assert!(told.contains(ErrorCode::ScriptInvalid.reason()), "{told}");
    }
}

/// Sends a message and follows its turn, which must be the session's `turn`th, to its failure.
async fn failure_of(client: &Client, session: &str, turn: u64) -> v1::Failure {
    let message = Some(v1::Message { text: "go".to_owned(), data_json: String::new() });
    let request = v1::SendRequest { session: session.to_owned(), message, idempotency_key: String::new() };
    let sent = client.sessions().send(request).await.unwrap().into_inner();
    assert_eq!(sent.turn, turn);
    let request =
        v1::WatchSessionRequest { session: session.to_owned(), from_sequence: sent.watch_from, ..Default::default() };
    let mut events = client.sessions().watch(request).await.unwrap().into_inner();
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        assert_ne!(event.kind(), Kind::TurnFinished, "{session}: {event:?}");
        if event.kind() == Kind::TurnFailed && event.turn == turn {
            return event.failure.expect("a failed turn says why");
        }
    }
    panic!("{session}: the stream ended before turn {turn} did");
}

fn assert_failed(case: &Case, failure: &v1::Failure) {
    assert_eq!(failure.reason, case.code.reason(), "{}: {failure:?}", case.name);
    assert_eq!(failure.file, "agent.rhai", "{}: {failure:?}", case.name);
    assert!(failure.message.contains(case.says), "{}: {:?} in {failure:?}", case.name, case.says);
}

/// A session that takes one turn after the other, as any client's would.
struct Steady {
    turns: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
    session: JoinSet<()>,
}

impl Steady {
    fn start(client: Client, session: String) -> Self {
        let (turns, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        let (counted, stop) = (Arc::clone(&turns), Arc::clone(&enough));
        tasks.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let ended = run(&client, &session, "still there?").await;
                assert_eq!((ended.failure, ended.reply.as_str()), (None, "still there?"));
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { turns, enough, session: tasks }
    }

    /// Lets the turn in hand finish and gives the number of turns.
    async fn stop(mut self) -> u64 {
        self.enough.store(true, Ordering::SeqCst);
        while let Some(ended) = self.session.join_next().await {
            ended.unwrap();
        }
        self.turns.load(Ordering::SeqCst)
    }
}

/// The most memory that the process ever had resident.
fn peak_memory_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}
