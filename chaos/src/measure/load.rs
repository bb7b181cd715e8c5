//! A steady load: clients that each append to a session of their own, one call after the other, and note what failed and
//! how long each call took. They call nodes that say on `/readyz` that they are ready, as a load balancer would have it:
//! what a node is about to do, nobody tells them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use steward::client::Client;
use steward_api::proto::v1;
use steward_types::{Clock as _, SystemClock};
use tokio::task::JoinSet;

use super::stage::{Stage, append};
use crate::registers::AGENT;

/// Appends after which a client takes another session, since each answers with the whole list.
const APPENDS_MAX: u32 = 100;
/// How often a balancer asks a node whether it is ready, and how long it waits for the answer.
const PROBE_TIME: Duration = Duration::from_millis(100);
const PROBE_TIME_MAX: Duration = Duration::from_secs(1);
/// A call that takes longer has failed.
const CALL_TIME_MAX: Duration = Duration::from_secs(60);

/// What the clients share.
pub struct Shared {
    clients: Vec<Client>,
    /// Which nodes are given calls: those that were ready when they were asked last.
    serving: Vec<AtomicBool>,
    /// How often a node that had been ready was found not to be.
    taken_off: AtomicUsize,
    /// Calls that no node had accepted, and that went to the next one.
    turned_away: AtomicUsize,
    /// Calls that a busy node refused; each client waits as long as it is told, and makes another.
    refused: AtomicUsize,
    stop: AtomicBool,
    turns: AtomicUsize,
    clock: SystemClock,
    times: Mutex<Vec<Duration>>,
    failures: Mutex<Vec<String>>,
}

/// Clients at work. Dropping it ends them.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
    _probes: JoinSet<()>,
}

impl Load {
    /// Starts so many clients.
    pub fn start(stage: &Stage, count: usize) -> Self {
        let shared = Arc::new(Shared {
            clients: stage.clients.clone(),
            serving: stage.clients.iter().map(|_| AtomicBool::new(true)).collect(),
            taken_off: AtomicUsize::new(0),
            turned_away: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            turns: AtomicUsize::new(0),
            clock: SystemClock::new(),
            times: Mutex::default(),
            failures: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for _ in 0..count {
            clients.spawn(Arc::clone(&shared).work());
        }
        let mut probes = JoinSet::new();
        for (node, process) in stage.fleet.nodes.iter().enumerate() {
            probes.spawn(Arc::clone(&shared).probe(node, format!("{}/readyz", process.server())));
        }
        Self { shared, clients, _probes: probes }
    }

    /// How often a node that had been ready was found not to be.
    pub fn taken_off(&self) -> usize {
        self.shared.taken_off.load(Ordering::SeqCst)
    }

    /// Calls that no node had accepted, and that went to the next one.
    pub fn turned_away(&self) -> usize {
        self.shared.turned_away.load(Ordering::SeqCst)
    }

    /// Calls that busy nodes refused.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// What was measured since the last time that this was asked.
    pub fn take(&self) -> (Vec<Duration>, Vec<String>) {
        (std::mem::take(&mut *self.shared.times.lock()), std::mem::take(&mut *self.shared.failures.lock()))
    }

    /// Ends the clients once their calls have ended, and gives what was measured.
    pub async fn stop(mut self) -> (Vec<Duration>, Vec<String>) {
        self.shared.stop.store(true, Ordering::SeqCst);
        while self.clients.join_next().await.is_some() {}
        self.take()
    }
}

impl Shared {
    /// Asks a node again and again whether it is ready. One that does not answer is not.
    async fn probe(self: Arc<Self>, node: usize, url: String) {
        let client = reqwest::Client::builder().timeout(PROBE_TIME_MAX).build().unwrap_or_default();
        loop {
            let answer = client.get(&url).send().await;
            let is_ready = answer.is_ok_and(|answer| answer.status().is_success());
            let was_ready = self.serving[node].swap(is_ready, Ordering::SeqCst);
            if was_ready && !is_ready {
                self.taken_off.fetch_add(1, Ordering::SeqCst);
            }
            self.clock.sleep(PROBE_TIME).await;
        }
    }

    async fn work(self: Arc<Self>) {
        while !self.stop.load(Ordering::SeqCst) {
            if let Err(failure) = self.one_session().await {
                self.failures.lock().push(failure);
            }
        }
    }

    async fn one_session(&self) -> Result<(), String> {
        let open = v1::OpenSessionRequest { agent: AGENT.to_owned(), ..Default::default() };
        let opened = self.timed(|client| {
            let open = open.clone();
            async move { client.sessions().open(open).await }
        });
        let opened = opened.await?;
        let session = opened.into_inner().id;
        for number in 0..APPENDS_MAX {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let request = append(&session, &number.to_string(), String::new());
            let run = self.timed(|client| {
                let request = request.clone();
                async move { client.sessions().run(request).await }
            });
            run.await?;
        }
        Ok(())
    }

    /// One call through a node that serves. A node that accepts no connection has not been called: the next one is.
    async fn timed<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        let mut began = self.clock.monotonic();
        loop {
            let client = self.clients[self.next_serving()].clone();
            let answer = tokio::time::timeout(CALL_TIME_MAX, call(client)).await;
            match answer.map_err(|_| "a call was not answered".to_owned())? {
                Ok(answer) => {
                    self.times.lock().push(self.clock.monotonic().saturating_sub(began));
                    return Ok(answer);
                }
                Err(status) if is_refused(&status) && self.clock.monotonic() < began + CALL_TIME_MAX => {
                    self.turned_away.fetch_add(1, Ordering::SeqCst);
                    self.clock.sleep(PROBE_TIME).await;
                }
                Err(status) => match retry_after_busy(&status) {
                    Some(wait) => {
                        self.refused.fetch_add(1, Ordering::SeqCst);
                        self.clock.sleep(wait).await;
                        began = self.clock.monotonic();
                    }
                    None => return Err(steward::client::explain(&status)),
                },
            }
        }
    }

    /// The next node of those that serve, in turns; all serve when none does.
    fn next_serving(&self) -> usize {
        let turn = self.turns.fetch_add(1, Ordering::SeqCst);
        let serving: Vec<usize> =
            (0..self.serving.len()).filter(|node| self.serving[*node].load(Ordering::SeqCst)).collect();
        if serving.is_empty() { turn % self.serving.len() } else { serving[turn % serving.len()] }
    }
}

/// How long a node that has enough to do asks its client to wait.
fn retry_after_busy(status: &tonic::Status) -> Option<Duration> {
    steward::client::reason(status).filter(|reason| reason == "NODE_BUSY")?;
    steward::client::retry_after(status)
}

/// Whether nobody listened: the call had not begun.
fn is_refused(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}
