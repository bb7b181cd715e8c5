//! A proxy between the driver and anvil that speaks JSON-RPC, breaks calls on purpose and counts how often it did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::RETRY_AFTER;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use steward_types::{Clock, Entropy, SeededEntropy, SystemClock};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::falsehood;

/// How long a call is held back.
const DELAY: Duration = Duration::from_millis(80);

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The connection is closed before the call arrives.
    Dropped,
    /// The call is held back.
    Delayed,
    /// HTTP 429, without a word on when to come back.
    Throttled,
    /// HTTP 429 with Retry-After.
    ThrottledFor,
    /// HTTP 503.
    Failed,
    /// The answer ends in its middle.
    Truncated,
    /// The answer is JSON of another shape.
    Garbled,
    /// The answer is of 20 blocks ago.
    Behind,
    /// The answer is false, and transactions are thrown away.
    Lies,
    /// The call arrives, and the connection is closed before the answer.
    ReplyLost,
    /// The call arrives twice.
    Twice,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 11] = [
        Self::Dropped,
        Self::Delayed,
        Self::Throttled,
        Self::ThrottledFor,
        Self::Failed,
        Self::Truncated,
        Self::Garbled,
        Self::Behind,
        Self::Lies,
        Self::ReplyLost,
        Self::Twice,
    ];
}

/// Which calls are broken, and how.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Every call is broken like this.
    pub always: Option<Fault>,
    /// So many in a thousand calls are broken in one of these ways.
    pub sometimes: Vec<Fault>,
    pub permille: u64,
}

/// A running proxy. It ends when this is dropped.
pub struct Proxy {
    url: Url,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    upstream: Url,
    client: reqwest::Client,
    rules: Mutex<Rules>,
    fired: Mutex<BTreeMap<Fault, u64>>,
    entropy: SeededEntropy,
    clock: SystemClock,
}

/// The connection is closed.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

impl Proxy {
    /// A proxy to `upstream` that breaks nothing yet.
    pub async fn start(upstream: &Url, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.clone(),
            client: reqwest::Client::new(),
            rules: Mutex::default(),
            fired: Mutex::default(),
            entropy: SeededEntropy::new(seed),
            clock: SystemClock::new(),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&shared)));
        Self { url, shared, _server: server }
    }

    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Breaks calls from now on.
    pub fn rule(&self, rules: Rules) {
        *self.shared.rules.lock() = rules;
    }

    /// Breaks every call like this, or none.
    pub fn always(&self, fault: Option<Fault>) {
        self.rule(Rules { always: fault, ..Rules::default() });
    }

    /// How often each fault fired.
    pub fn fired(&self) -> BTreeMap<Fault, u64> {
        self.shared.fired.lock().clone()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        let handler = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { shared.handle(request).await }
        });
        connections.spawn(async move {
            // A connection that was closed on purpose ends with an error: that is the fault.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), handler).await;
        });
    }
}

impl Shared {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Closed> {
        let body = request.into_body().collect().await.map_err(|_| Closed)?.to_bytes();
        let call: Value = serde_json::from_slice(&body).map_err(|_| Closed)?;
        let fault = self.pick();
        let early = match fault {
            Some(Fault::Dropped) => return Err(Closed),
            Some(Fault::Throttled) => Some(status(StatusCode::TOO_MANY_REQUESTS)),
            Some(Fault::ThrottledFor) => {
                let mut response = status(StatusCode::TOO_MANY_REQUESTS);
                response.headers_mut().insert(RETRY_AFTER, "1".parse().unwrap());
                Some(response)
            }
            Some(Fault::Failed) => Some(status(StatusCode::SERVICE_UNAVAILABLE)),
            _ => None,
        };
        if let Some(response) = early {
            return Ok(response);
        }
        let answer = match fault {
            Some(Fault::Behind) => falsehood::behind(&call, |call| self.forward(call)).await,
            Some(Fault::Lies) => falsehood::lie(&call, |call| self.forward(call)).await,
            _ => self.forward(call.clone()).await,
        };
        let answer = match fault {
            Some(Fault::Delayed) => {
                self.clock.sleep(DELAY).await;
                answer
            }
            Some(Fault::ReplyLost) => return Err(Closed),
            Some(Fault::Twice) => self.forward(call).await,
            Some(Fault::Garbled) => json!({ "jsonrpc": "2.0", "id": call["id"], "result": { "surprise": [true] } }),
            _ => answer,
        };
        let mut text = answer.to_string();
        if fault == Some(Fault::Truncated) {
            text.truncate(text.len() / 2);
        }
        Ok(Response::new(Full::new(Bytes::from(text))))
    }

    fn pick(&self) -> Option<Fault> {
        let rules = self.rules.lock();
        let is_hit = !rules.sometimes.is_empty() && self.entropy.next_u64() % 1_000 < rules.permille;
        let among = rules.sometimes.len().max(1) as u64;
        let fault = rules
            .always
            .or_else(|| is_hit.then(|| rules.sometimes[usize::try_from(self.entropy.next_u64() % among).unwrap()]));
        if let Some(fault) = fault {
            *self.fired.lock().entry(fault).or_default() += 1;
        }
        fault
    }

    async fn forward(&self, call: Value) -> Value {
        let sent = self.client.post(self.upstream.clone()).json(&call).send().await.unwrap();
        sent.json().await.unwrap()
    }
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"<html>not now</html>")));
    *response.status_mut() = code;
    response
}
