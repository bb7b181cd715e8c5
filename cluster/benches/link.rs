//! Calls between two ends over loopback, side by side in one run: a link with mutual TLS, raw ractor_cluster over plain
//! TCP, and raw tonic unary over plain TCP; then the control lane's latency while the data lane is full. Both ends live
//! in this process, so the CPU time is that of caller and callee together.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::{NodeServer, NodeServerMessage, RactorClusterMessage};
use steward_cluster::link::{ClusterAuthority, Inbound, Lane, LinkConfig, LinkIdentity, Links, PeerAddress, Refusal};
use steward_types::{Clock, NodeId, SystemClock, SystemEntropy};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const IN_FLIGHT: usize = 64;
const TIME: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    // `cargo test --benches` asks whether it runs at all; it passes no such flag to a bench run.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let clock = Arc::new(SystemClock::new());
    let (left, right) = (links(1, &clock).await, links(2, &clock).await);
    let peer = PeerAddress { node: right.node(), address: right.address() };
    for in_flight in [1, IN_FLIGHT] {
        let name = format!("link, mutual TLS, {in_flight} in flight");
        let (left, peer) = (left.clone(), peer.clone());
        throughput(&name, &clock, in_flight, move || {
            let (links, peer) = (left.clone(), peer.clone());
            async move { drop(links.call(&peer, Lane::Data, 1, payload(32), DEADLINE).await.expect("an echo")) }
        })
        .await;
    }
    let echo = ractor_echo().await;
    for in_flight in [1, IN_FLIGHT] {
        let name = format!("ractor_cluster, plain TCP, {in_flight} in flight");
        let echo = echo.clone();
        throughput(&name, &clock, in_flight, move || {
            let echo = echo.clone();
            async move {
                ractor::call_t!(echo, Echo::Say, 10_000, vec![0; 32]).expect("an echo");
            }
        })
        .await;
    }
    let client = tonic_health_client().await;
    for in_flight in [1, IN_FLIGHT] {
        let name = format!("tonic unary, plain TCP, {in_flight} in flight");
        let client = client.clone();
        throughput(&name, &clock, in_flight, move || {
            let mut client = client.clone();
            let request = HealthCheckRequest { service: String::new() };
            async move { drop(client.check(request).await.expect("an answer")) }
        })
        .await;
    }
    control_latency(&left, &peer, &clock).await;
}

fn payload(bytes: usize) -> Bytes {
    Bytes::from(vec![0; bytes])
}

/// Keeps `in_flight` calls going for a while; prints calls a second and CPU time a call.
async fn throughput<F, Fut>(name: &str, clock: &Arc<SystemClock>, in_flight: usize, call: F)
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (stop, calls, tasks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), TaskTracker::new());
    for _ in 0..in_flight {
        let (stop, calls, call) = (stop.clone(), calls.clone(), call.clone());
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                call().await;
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    clock.sleep(WARM_UP).await;
    let (before, cpu, started) = (calls.load(Ordering::Relaxed), cpu_time(), clock.monotonic());
    clock.sleep(TIME).await;
    let done = calls.load(Ordering::Relaxed) - before;
    let (cpu, took) = (cpu_time() - cpu, clock.monotonic() - started);
    stop.store(true, Ordering::Relaxed);
    tasks.close();
    tasks.wait().await;
    let micros = cpu.as_micros() as f64 / done as f64;
    println!("{name:<46} {:>9.0} calls/s {micros:>8.1} µs CPU a call", done as f64 / took.as_secs_f64());
}

/// The control lane's latency while 64 calls of 64 KiB keep the data lane full.
async fn control_latency(links: &Links, peer: &PeerAddress, clock: &Arc<SystemClock>) {
    let (stop, tasks) = (Arc::new(AtomicBool::new(false)), TaskTracker::new());
    for _ in 0..IN_FLIGHT {
        let (links, peer, stop) = (links.clone(), peer.clone(), stop.clone());
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                links.call(&peer, Lane::Data, 1, payload(64 << 10), DEADLINE).await.expect("an echo");
            }
        });
    }
    clock.sleep(WARM_UP).await;
    let (mut times, end) = (Vec::new(), clock.monotonic() + TIME);
    while clock.monotonic() < end {
        let started = clock.monotonic();
        links.call(peer, Lane::Control, 1, payload(32), DEADLINE).await.expect("an echo");
        times.push(clock.monotonic() - started);
        clock.sleep(Duration::from_millis(1)).await;
    }
    stop.store(true, Ordering::Relaxed);
    tasks.close();
    tasks.wait().await;
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "control lane, data lane full: p50 {:?}, p99 {:?}, longest {:?} of {} calls",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    );
}

/// User and system time of this process. Linux counts it in hundredths of a second.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("the system has /proc");
    let fields: Vec<u64> =
        stat.rsplit(") ").next().unwrap_or_default().split(' ').filter_map(|field| field.parse().ok()).collect();
    // The state is no number; of the rest, user and system time are the eleventh and twelfth.
    Duration::from_millis(10 * (fields[10] + fields[11]))
}

struct EchoHandler;

#[async_trait]
impl Inbound for EchoHandler {
    async fn on_call(&self, _: &NodeId, _: u16, payload: Bytes, _: Duration) -> Result<Bytes, Refusal> {
        Ok(payload)
    }
}

async fn links(number: u8, clock: &Arc<SystemClock>) -> Links {
    use std::sync::OnceLock;
    static AUTHORITY: OnceLock<ClusterAuthority> = OnceLock::new();
    let authority = AUTHORITY.get_or_init(|| ClusterAuthority::create(clock.now()).expect("an authority"));
    let certificate = authority.issue(&NodeId::from_bytes([number; 16]), DEADLINE * 60, clock.now()).expect("issued");
    let identity =
        LinkIdentity::from_pem(authority.certificate_pem(), &certificate.certificate_pem, &certificate.key_pem)
            .expect("an identity");
    let (sender, identity) = watch::channel(Arc::new(identity));
    // Whoever holds the sender may rotate; nobody does here.
    drop(sender);
    let config = LinkConfig::new(([127, 0, 0, 1], 0).into(), identity);
    Links::start(config, Arc::new(EchoHandler), clock.clone(), Arc::new(SystemEntropy)).await.expect("links")
}

#[derive(RactorClusterMessage)]
enum Echo {
    #[rpc]
    Say(Vec<u8>, RpcReplyPort<Vec<u8>>),
}

struct EchoActor;

impl Actor for EchoActor {
    type Msg = Echo;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Echo>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Echo>, message: Echo, (): &mut ()) -> Result<(), ActorProcessingErr> {
        let Echo::Say(payload, reply) = message;
        let _ = reply.send(payload);
        Ok(())
    }
}

/// An echo actor as seen over a plain TCP connection between two node servers of ractor_cluster.
async fn ractor_echo() -> ActorRef<Echo> {
    let (actor, _) = Actor::spawn(None, EchoActor, ()).await.expect("an actor");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let server = |port, name: &str| {
        NodeServer::new(port, "cookie".to_owned(), name.to_owned(), format!("{name}.local"), None, None)
            .with_listen_addr([127, 0, 0, 1].into())
    };
    Actor::spawn(None, server(port, "callee"), ()).await.expect("a node server");
    let (caller, _) = Actor::spawn(None, server(0, "caller"), ()).await.expect("a node server");
    ractor_cluster::client_connect(&caller, format!("127.0.0.1:{port}")).await.expect("a connection");
    loop {
        let sessions = ractor::call_t!(caller, NodeServerMessage::GetSessions, 1_000).expect("the sessions");
        let mut shims = sessions.values().flat_map(|session| session.actor.get_cell().get_children());
        let is_echo = |id: ractor::ActorId| !id.is_local() && id.pid() == actor.get_id().pid();
        let found = shims.find(|child| is_echo(child.get_id()));
        match found {
            Some(shim) => return shim.into(),
            None => SystemClock::new().sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn tonic_health_client() -> HealthClient<tonic::transport::Channel> {
    let (_reporter, service) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let serve = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
    TaskTracker::new().spawn(serve);
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
    HealthClient::new(endpoint.connect().await.expect("a connection"))
}
