//! A steady load: clients that each append to a session of their own through nodes that serve, one call after the
//! other, and note what failed and how long each call took.

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
/// A call that takes longer has failed.
const CALL_TIME_MAX: Duration = Duration::from_secs(60);

/// What the clients share.
pub struct Shared {
    clients: Vec<Client>,
    /// Which nodes are given calls: as a balancer would that looks at their readiness.
    serving: Vec<AtomicBool>,
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
}

impl Load {
    /// Starts so many clients.
    pub fn start(stage: &Stage, count: usize) -> Self {
        let shared = Arc::new(Shared {
            clients: stage.clients.clone(),
            serving: stage.clients.iter().map(|_| AtomicBool::new(true)).collect(),
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
        Self { shared, clients }
    }

    /// Whether a node is given new calls.
    pub fn set_serving(&self, node: usize, serving: bool) {
        self.shared.serving[node].store(serving, Ordering::SeqCst);
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
    async fn work(self: Arc<Self>) {
        while !self.stop.load(Ordering::SeqCst) {
            if let Err(failure) = self.one_session().await {
                self.failures.lock().push(failure);
            }
        }
    }

    async fn one_session(&self) -> Result<(), String> {
        let open = v1::OpenSessionRequest { agent: AGENT.to_owned(), ..Default::default() };
        let opened = self.timed(|client| async move { client.sessions().open(open).await }).await?;
        let session = opened.into_inner().id;
        for number in 0..APPENDS_MAX {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let request = append(&session, &number.to_string(), String::new());
            self.timed(|client| async move { client.sessions().run(request).await }).await?;
        }
        Ok(())
    }

    async fn timed<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        let client = self.clients[self.next_serving()].clone();
        let began = self.clock.monotonic();
        let answer = tokio::time::timeout(CALL_TIME_MAX, call(client)).await;
        let answer = answer.map_err(|_| "a call was not answered".to_owned())?;
        let answer = answer.map_err(|status| steward::client::explain(&status))?;
        self.times.lock().push(self.clock.monotonic().saturating_sub(began));
        Ok(answer)
    }

    /// The next node of those that serve, in turns; all serve when none does.
    fn next_serving(&self) -> usize {
        let turn = self.turns.fetch_add(1, Ordering::SeqCst);
        let serving: Vec<usize> =
            (0..self.serving.len()).filter(|node| self.serving[*node].load(Ordering::SeqCst)).collect();
        if serving.is_empty() { turn % self.serving.len() } else { serving[turn % serving.len()] }
    }
}
