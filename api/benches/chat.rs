//! Chat completions over HTTP at a fixed rate: what Steward adds to a model that answers at once, with a hold, a
//! settlement and a receipt for each request, each commit synced to disk. Run with
//! `cargo bench -p steward-api --bench chat`; `STEWARD_BENCH_RATE` and `STEWARD_BENCH_SECONDS` change the load.
//!
//! The server is this process; the load comes from a second one, so that the CPU time of each is known. Requests leave
//! at their time whether or not earlier ones were answered. `/healthz` at the same rate stands beside it.

use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use steward_actors::budget::Period;
use steward_actors::project::Role;
use steward_actors::receipt_log::LogIdentity;
use steward_actors::service::{NewProject, NodeParts, StoredModels};
use steward_adapters::NoHttp;
use steward_api::{ApiConfig, serve};
use steward_inference::{DeviceBudget, ModelSource, ScriptedLoader};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Clock, SystemClock, SystemEntropy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

type BoxError = Box<dyn Error + Send + Sync>;

const RATE: u64 = 2_500;
const SECONDS: u64 = 10;
/// Seconds of load before what is measured, so that connections are open and allowances taken.
const WARM_UP_SECONDS: u64 = 2;
/// Requests in flight before further ones are dropped and counted: the server is far behind then.
const IN_FLIGHT_MAX: usize = 4_000;

/// Models that answer one question.
const MODELS: ScriptedLoader = ScriptedLoader::with_rules(|model| model.answering("count", "one two three four"));

/// What the load asks for.
#[derive(Clone)]
struct Target {
    address: String,
    path: String,
    key: String,
}

impl Target {
    fn request(&self) -> Result<Request<Full<Bytes>>, BoxError> {
        let chat = self.path == "/v1/chat/completions";
        let body = json!({
            "model": "echo",
            "max_tokens": 16,
            "messages": [
                { "role": "system", "content": "You are terse." },
                { "role": "user", "content": "Please count to four." },
            ],
        });
        let (method, body) = if chat { (Method::POST, Bytes::from(body.to_string())) } else { Default::default() };
        Ok(Request::builder()
            .method(method)
            .uri(&self.path)
            .header("host", &self.address)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(Full::new(body))?)
    }
}

/// Connections that wait for a request.
#[derive(Clone, Default)]
struct Connections(Arc<Mutex<Vec<SendRequest<Full<Bytes>>>>>);

impl Connections {
    async fn send(&self, target: &Target) -> Result<StatusCode, BoxError> {
        let waiting = self.0.lock().pop();
        let mut sender = match waiting.filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => connect(&target.address).await?,
        };
        sender.ready().await?;
        let response = sender.send_request(target.request()?).await?;
        let status = response.status();
        response.into_body().collect().await?;
        self.0.lock().push(sender);
        Ok(status)
    }
}

#[expect(clippy::disallowed_methods, reason = "a connection of the load's process ends with it")]
async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, BoxError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    drop(tokio::spawn(connection));
    Ok(sender)
}

/// Sends requests at `rate` for `seconds`; gives the latencies of those that were answered well, and counts the rest.
async fn load(target: &Target, connections: &Connections, rate: u64, seconds: u64) -> (Vec<Duration>, u64) {
    let clock = Arc::new(SystemClock::new());
    let (mut sent, mut refused, total) = (0, 0, rate * seconds);
    let (mut calls, mut latencies) = (JoinSet::new(), Vec::with_capacity(total as usize));
    let started = clock.monotonic();
    let mut take = |done: Result<Option<Duration>, _>, refused: &mut u64| match done {
        Ok(Some(latency)) => latencies.push(latency),
        _ => *refused += 1,
    };
    while sent < total {
        let due = (clock.monotonic() - started).as_nanos() as u64 * rate / 1_000_000_000;
        while sent < due.min(total) {
            sent += 1;
            if calls.len() >= IN_FLIGHT_MAX {
                refused += 1;
                continue;
            }
            let (target, connections, clock) = (target.clone(), connections.clone(), Arc::clone(&clock));
            calls.spawn(async move {
                let left = clock.monotonic();
                let answered = connections.send(&target).await;
                answered.is_ok_and(|status| status.is_success()).then(|| clock.monotonic() - left)
            });
        }
        while let Some(done) = calls.try_join_next() {
            take(done, &mut refused);
        }
        clock.sleep(Duration::from_millis(1)).await;
    }
    while let Some(done) = calls.join_next().await {
        take(done, &mut refused);
    }
    latencies.sort();
    (latencies, refused)
}

/// The second process: loads, and prints what it saw as one line of JSON.
#[expect(clippy::print_stdout, reason = "the first process reads it")]
async fn be_the_load(arguments: &[String]) -> Result<(), BoxError> {
    let [address, path, key, rate, seconds] = arguments else { return Err("five arguments".into()) };
    let target = Target { address: address.clone(), path: path.clone(), key: key.clone() };
    let (rate, seconds) = (rate.parse()?, seconds.parse()?);
    let connections = Connections::default();
    load(&target, &connections, rate, WARM_UP_SECONDS).await;
    // The first process takes its CPU time from here on.
    println!("warm");
    let (clock, cpu) = (SystemClock::new(), cpu_time());
    let started = clock.monotonic();
    let (latencies, refused) = load(&target, &connections, rate, seconds).await;
    let wall = (clock.monotonic() - started).as_secs_f64();
    let at =
        |share: f64| latencies.get((latencies.len() as f64 * share) as usize).map_or(0.0, |l| l.as_secs_f64() * 1e3);
    let answered = latencies.len();
    let figures = json!({
        "answered": answered, "refused": refused, "per_second": answered as f64 / wall,
        "p50_ms": at(0.5), "p99_ms": at(0.99), "load_cpu_ms": (cpu_time() - cpu).as_millis() as u64,
        "connections": connections.0.lock().len(),
    });
    println!("{figures}");
    Ok(())
}

/// Runs the second process and adds what this one used meanwhile.
fn measure(target: &Target, rate: u64, seconds: u64) -> Result<(Value, Duration), BoxError> {
    use std::io::BufRead;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["load", &target.address, &target.path, &target.key, &rate.to_string(), &seconds.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    let (mut before, mut figures) = (Duration::ZERO, Value::Null);
    for line in std::io::BufReader::new(output).lines() {
        match line? {
            line if line == "warm" => before = cpu_time(),
            line => figures = serde_json::from_str(&line)?,
        }
    }
    let used = cpu_time().saturating_sub(before);
    child.wait()?;
    Ok((figures, used))
}

/// The CPU time of this process, from Linux's `/proc/self/stat`, whose ticks are a hundredth of a second.
fn cpu_time() -> Duration {
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    Duration::from_millis(ticks().unwrap_or(0) * 10)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn be_the_server() -> Result<(), BoxError> {
    let (rate, seconds) = (setting("STEWARD_BENCH_RATE", RATE), setting("STEWARD_BENCH_SECONDS", SECONDS));
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = EmbeddedStore::open(&EmbeddedConfig::new(folder.path().join("store")), Arc::clone(&clock))?;
    let store: Arc<dyn steward_storage::Store> = Arc::new(store);
    let models = StoredModels::new(Arc::clone(&store), Arc::new(MODELS), DeviceBudget::new("cpu", 1 << 30));
    let log = Arc::new(LogIdentity::new("bench.example".to_owned(), [7; 32])?);
    let parts = NodeParts::new(store, clock, Arc::new(SystemEntropy), Arc::new(models), Arc::new(NoHttp), log);
    let steward = parts.start().await?;
    steward.add_model(ModelSource::new("echo".parse()?, "echo")).await?;
    let project: steward_types::ProjectId = "bench".parse()?;
    let new = NewProject { id: project.clone(), limit: None, period: Period::None, prices: None, chains: Vec::new() };
    steward.create_project(new).await?;
    let key = steward.create_key(&project, "load", Role::Member, "").await?;
    let key = key.text.ok_or("the key was made before")?.reveal();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = JoinSet::new();
    serving.spawn(serve(listener, steward, ApiConfig::default(), async { drop(stopped.await) }));
    println!("{rate} requests/s asked for, {seconds} s each");
    for path in ["/healthz", "/v1/chat/completions"] {
        let target = Target { address: address.clone(), path: path.to_owned(), key: key.clone() };
        let (figures, used) = tokio::task::spawn_blocking(move || measure(&target, rate, seconds)).await??;
        let a_request = used.as_secs_f64() * 1e3 / figures["answered"].as_f64().unwrap_or(0.0).max(1.0);
        println!("{path}: server CPU {a_request:.3} ms a request; {figures}");
    }
    drop(stop);
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((role, rest)) if role == "load" => be_the_load(rest).await,
        _ => be_the_server().await,
    }
}
