//! The outside world: an HTTP service that counts what it is asked, and by which idempotency keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::post;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// A running service.
#[derive(Debug)]
pub struct World {
    url: String,
    seen: Arc<Mutex<Seen>>,
    server: JoinHandle<()>,
}

/// What was asked, by message number.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The keys under which each idempotent effect was asked for.
    pub paid: BTreeMap<u64, BTreeSet<String>>,
    /// How often each idempotent effect was asked for.
    pub asked: BTreeMap<u64, u32>,
    /// How often each effect that is not idempotent was asked for.
    pub once: BTreeMap<u64, u32>,
}

impl World {
    /// Starts it on a free port of this machine.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start() -> anyhow::Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let router = Router::new()
            .route("/pay/{number}", post(pay))
            .route("/once/{number}", post(once))
            .with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        #[expect(clippy::disallowed_methods, reason = "owned by the value, which aborts it when dropped")]
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the outside service ended");
            }
        });
        Ok(Self { url, seen, server })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was asked so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pay(State(seen): State<Arc<Mutex<Seen>>>, Path(number): Path<u64>, headers: HeaderMap) -> &'static str {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or("").to_owned();
    let mut seen = seen.lock();
    seen.paid.entry(number).or_default().insert(key);
    *seen.asked.entry(number).or_default() += 1;
    "paid"
}

async fn once(State(seen): State<Arc<Mutex<Seen>>>, Path(number): Path<u64>) -> &'static str {
    *seen.lock().once.entry(number).or_default() += 1;
    "done"
}
