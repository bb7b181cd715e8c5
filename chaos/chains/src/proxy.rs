//! A proxy between a driver and its endpoint that speaks JSON-RPC over HTTP, breaks calls on purpose and counts how often
//! it did.

use std::collections::BTreeMap;
use std::fmt;
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
use steward_types::{Clock as _, Entropy as _, SeededEntropy, SystemClock};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use crate::falsehood::Dialect;
use crate::fault::Fault;

/// How long a call is held back.
const DELAY: Duration = Duration::from_millis(80);
/// What [`Fault::ThrottledFor`] asks for, in seconds.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// Which calls are broken, and how.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Every call is broken like this.
    pub always: Option<Fault>,
    /// The first call and so many in a thousand others are broken, in that of these ways that fired least so far: so
    /// each fires.
    pub sometimes: Vec<Fault>,
    /// How many in a thousand.
    pub permille: u64,
}

/// A running proxy. It ends when this is dropped.
pub struct Proxy {
    url: Url,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

/// The endpoint behind a proxy.
pub(crate) struct Upstream {
    url: Url,
    client: reqwest::Client,
}

/// The connection is closed.
#[derive(Debug)]
pub(crate) struct Closed;

struct Shared {
    dialect: Dialect,
    upstream: Upstream,
    rules: Mutex<Rules>,
    fired: Mutex<BTreeMap<Fault, u64>>,
    last_answer: Mutex<Option<Value>>,
    entropy: SeededEntropy,
    clock: SystemClock,
}

impl Proxy {
    /// A proxy to `upstream` that breaks nothing yet.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(dialect: Dialect, upstream: &Url, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it listens");
        let url = Url::parse(&format!("http://{address}")).expect("an address makes a URL");
        let shared = Arc::new(Shared {
            dialect,
            upstream: Upstream { url: upstream.clone(), client: reqwest::Client::new() },
            rules: Mutex::default(),
            fired: Mutex::default(),
            last_answer: Mutex::default(),
            entropy: SeededEntropy::new(seed),
            clock: SystemClock::new(),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&shared)));
        Self { url, shared, _server: server }
    }

    /// Where it answers.
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

/// What an endpoint itself answers, asked past every proxy.
///
/// # Panics
/// When it does not answer.
pub async fn ask(endpoint: &Url, method: &str, parameters: Value) -> Value {
    let upstream = Upstream { url: endpoint.clone(), client: reqwest::Client::new() };
    upstream.result(method, parameters).await.expect("the endpoint itself answers")
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
        match fault {
            Some(Fault::Dropped) => return Err(Closed),
            Some(Fault::Throttled) => return Ok(throttled(&call, None)),
            Some(Fault::ThrottledFor) => return Ok(throttled(&call, Some(RETRY_AFTER_SECONDS))),
            Some(Fault::Failed) => return Ok(unavailable()),
            _ => {}
        }
        let mut text = self.answer(fault, call).await?.to_string();
        if fault == Some(Fault::Truncated) {
            text.truncate(text.len() / 2);
        }
        Ok(Response::new(Full::new(Bytes::from(text))))
    }

    async fn answer(&self, fault: Option<Fault>, call: Value) -> Result<Value, Closed> {
        let id = call["id"].clone();
        let answer = match fault {
            Some(Fault::Behind | Fault::Lies) => self.falsehood(fault, &call).await?,
            Some(Fault::Twice) => {
                self.upstream.ask(call.clone()).await?;
                self.upstream.ask(call).await?
            }
            _ => self.upstream.ask(call).await?,
        };
        match fault {
            Some(Fault::Delayed) => self.clock.sleep(DELAY).await,
            Some(Fault::ReplyLost) => return Err(Closed),
            Some(Fault::Garbled) => {
                return Ok(json!({ "jsonrpc": "2.0", "id": id, "result": { "surprise": [true] } }));
            }
            _ => {}
        }
        let before = self.last_answer.lock().replace(answer.clone());
        Ok(if fault == Some(Fault::Repeated) { before.unwrap_or(answer) } else { answer })
    }

    /// A false answer, to each call of a batch one.
    async fn falsehood(&self, fault: Option<Fault>, call: &Value) -> Result<Value, Closed> {
        let each = match call {
            Value::Array(batch) => batch.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut answers = Vec::new();
        for call in each {
            answers.push(match fault {
                Some(Fault::Lies) => self.dialect.lie(call, &self.upstream).await?,
                _ => self.dialect.behind(call, &self.upstream).await?,
            });
        }
        Ok(if call.is_array() { Value::Array(answers) } else { answers.pop().unwrap_or_default() })
    }

    /// How this call is broken, if it is.
    fn pick(&self) -> Option<Fault> {
        let rules = self.rules.lock();
        let mut fired = self.fired.lock();
        // The first call in any case, so that it is not left to chance whether a fault fires.
        let is_hit = fired.is_empty() || self.entropy.next_u64() % 1_000 < rules.permille;
        let least = || rules.sometimes.iter().copied().min_by_key(|fault| fired.get(fault).copied().unwrap_or(0));
        let mut fault = rules.always.or_else(|| if is_hit { least() } else { None });
        if fault == Some(Fault::Repeated) && self.last_answer.lock().is_none() {
            // Nothing was answered yet that could come again.
            fault = None;
        }
        if let Some(fault) = fault {
            *fired.entry(fault).or_default() += 1;
        }
        fault
    }
}

impl Upstream {
    /// The endpoint's own answer. A dead endpoint closes the connection.
    pub(crate) async fn ask(&self, call: Value) -> Result<Value, Closed> {
        let sent = self.client.post(self.url.clone()).json(&call).send().await.map_err(|_| Closed)?;
        sent.json().await.map_err(|_| Closed)
    }

    /// The result of a question of the proxy's own.
    pub(crate) async fn result(&self, method: &str, parameters: Value) -> Result<Value, Closed> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
        Ok(self.ask(call).await?["result"].take())
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// As providers throttle: with an error that JSON-RPC clients read before they look at the status.
fn throttled(call: &Value, retry_after: Option<u64>) -> Response<Full<Bytes>> {
    let error = json!({ "code": 429, "message": "too many requests" });
    let body = json!({ "jsonrpc": "2.0", "id": call["id"], "error": error }).to_string();
    let mut response = status(StatusCode::TOO_MANY_REQUESTS, Bytes::from(body));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn unavailable() -> Response<Full<Bytes>> {
    status(StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(b"<html>not now</html>"))
}

fn status(code: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = code;
    response
}
