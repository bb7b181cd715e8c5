//! The HTTP client against a local server: what is allowed, what is refused, and what is known of the outcome.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::any;
use bytes::Bytes;
use steward_adapters::{HttpOutcome, HttpRequest, HttpResponse, HttpTool};
use steward_adapters_tools::{HttpClient, Lookup};
use steward_types::{ErrorCode, ManualClock, SystemClock, Timestamp};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What the server saw, one line a request.
#[derive(Clone, Default)]
struct Seen {
    lines: Arc<Mutex<Vec<String>>>,
    arrived: Arc<Notify>,
}

impl Seen {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("not poisoned").clone()
    }
}

/// A server that is stopped with the test.
struct Server {
    address: SocketAddr,
    seen: Seen,
    _task: tokio::task::JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let seen = Seen::default();
        let router = Router::new().route("/{*path}", any(handle)).with_state(seen.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, seen, _task: task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

async fn handle(
    State(seen): State<Seen>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let line = format!(
        "{method} {path} key={} auth={} body={}",
        header("idempotency-key"),
        header("authorization"),
        String::from_utf8_lossy(&body)
    );
    seen.lines.lock().expect("not poisoned").push(line);
    seen.arrived.notify_one();
    match path.as_str() {
        "json" => {
            ([(header::CONTENT_TYPE, "application/json"), (header::SET_COOKIE, "a=b")], r#"{"n":1}"#).into_response()
        }
        "see-other" => Redirect::to("/json").into_response(),
        "keep" => Redirect::temporary("/json").into_response(),
        "circle" => Redirect::temporary("/circle").into_response(),
        "away" => (StatusCode::FOUND, [(header::LOCATION, headers["x-to"].clone())]).into_response(),
        "large" => "x".repeat(70_000).into_response(),
        "teapot" => StatusCode::IM_A_TEAPOT.into_response(),
        "never" => std::future::pending().await,
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn client() -> HttpClient {
    HttpClient::new(Arc::new(SystemClock::new())).expect("TLS is set up")
}

fn request(method: &str, url: &str) -> HttpRequest {
    HttpRequest {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: BTreeMap::new(),
        body: Bytes::new(),
        timeout: Duration::from_secs(20),
        idempotency_key: "key-1".to_owned(),
        allow: vec!["http://127.0.0.1:*".to_owned(), "http://inside.test:*".to_owned()],
        allow_private: true,
    }
}

fn answered(outcome: HttpOutcome) -> HttpResponse {
    match outcome {
        HttpOutcome::Answered(response) => response,
        other => panic!("{other:?}"),
    }
}

fn not_sent(outcome: HttpOutcome) -> (ErrorCode, String) {
    match outcome {
        HttpOutcome::NotSent(failure) => (failure.code, failure.message),
        other => panic!("{other:?}"),
    }
}

fn unknown(outcome: HttpOutcome) -> (ErrorCode, String) {
    match outcome {
        HttpOutcome::Unknown(failure) => (failure.code, failure.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_allowed_request_carries_its_key_and_body_and_any_status_is_an_answer() {
    let server = Server::start().await;
    let mut post = request("POST", &server.url("json"));
    post.body = Bytes::from_static(b"hello");
    post.headers.insert("Authorization".to_owned(), "Bearer s".to_owned());
    let response = answered(client().send(post).await);
    assert_eq!((response.status, &response.body[..]), (200, &br#"{"n":1}"#[..]));
    assert_eq!(response.headers["content-type"], "application/json");
    assert_eq!(answered(client().send(request("GET", &server.url("teapot"))).await).status, 418);
    let seen = server.seen.lines();
    assert_eq!(seen, ["POST json key=key-1 auth=Bearer s body=hello", "GET teapot key=key-1 auth=- body="]);
}

#[tokio::test]
async fn what_is_not_allowed_never_leaves_the_machine() {
    let server = Server::start().await;
    let check = async |change: &dyn Fn(&mut HttpRequest), code: ErrorCode, part: &str| {
        let mut refused = request("GET", &server.url("json"));
        change(&mut refused);
        let (found, message) = not_sent(client().send(refused).await);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(part), "{message}");
    };
    check(&|r| r.allow.clear(), ErrorCode::ToolForbidden, "is not in http.allow").await;
    check(&|r| r.allow = vec!["nonsense".to_owned()], ErrorCode::ToolForbidden, "http.allow of the manifest").await;
    check(&|r| r.allow_private = false, ErrorCode::ToolForbidden, "private address").await;
    check(&|r| r.url = "http://localhost/".to_owned(), ErrorCode::ToolForbidden, "is not in http.allow").await;
    check(&|r| r.url = "file:///etc/passwd".to_owned(), ErrorCode::ToolForbidden, "only http").await;
    check(&|r| r.url = r.url.replace("//", "//u:p@"), ErrorCode::ToolForbidden, "user name").await;
    check(&|r| r.url = "not a url".to_owned(), ErrorCode::StepInvalid, "is no URL").await;
    check(&|r| drop(r.headers.insert("Host".into(), "x".into())), ErrorCode::StepInvalid, "not the script's").await;
    check(&|r| drop(r.headers.insert("a".into(), "x\r\ny: z".into())), ErrorCode::StepInvalid, "malformed").await;
    check(&|r| r.body = Bytes::from(vec![0; 2 << 20]), ErrorCode::StepInvalid, "are allowed").await;
    assert_eq!(server.seen.lines(), [""; 0]);
}

#[tokio::test]
async fn a_redirect_is_followed_only_to_where_the_rules_allow() {
    let (server, other) = (Server::start().await, Server::start().await);
    let post = |path: &str| {
        let mut post = request("POST", &server.url(path));
        post.body = Bytes::from_static(b"b");
        post.headers.insert("authorization".to_owned(), "secret".to_owned());
        post
    };
    assert_eq!(answered(client().send(post("see-other")).await).status, 200);
    assert_eq!(answered(client().send(post("keep")).await).status, 200);
    let mut away = post("away");
    away.headers.insert("x-to".to_owned(), other.url("json"));
    assert_eq!(answered(client().send(away.clone()).await).status, 200);
    assert_eq!(
        server.seen.lines()[1..4],
        [
            "GET json key=key-1 auth=secret body=",
            "POST keep key=key-1 auth=secret body=b",
            "POST json key=key-1 auth=secret body=b"
        ]
    );
    assert_eq!(other.seen.lines(), ["GET json key=key-1 auth=- body="]);

    away.allow = vec![server.url("away")];
    let (code, message) = unknown(client().send(away).await);
    assert_eq!(code, ErrorCode::ToolForbidden, "{message}");
    assert_eq!(other.seen.lines().len(), 1);

    let before = server.seen.lines().len();
    let (code, message) = unknown(client().send(request("GET", &server.url("circle"))).await);
    assert_eq!((code, message.as_str()), (ErrorCode::ToolFailed, "there were more than 5 redirects"));
    assert_eq!(server.seen.lines().len() - before, 6);
}

/// Answers a name with the next list each time, and the last for ever.
#[derive(Debug)]
struct Scripted(Vec<Vec<IpAddr>>, AtomicUsize);

#[async_trait]
impl Lookup for Scripted {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let turn = self.1.fetch_add(1, Ordering::SeqCst);
        Ok(self.0[turn.min(self.0.len() - 1)].clone())
    }
}

fn resolving(answers: &[&[&str]]) -> HttpClient {
    let parse = |list: &&[&str]| list.iter().map(|text| text.parse().expect("an address")).collect();
    let lookup = Scripted(answers.iter().map(parse).collect(), AtomicUsize::new(0));
    HttpClient::with_lookup(Arc::new(SystemClock::new()), Arc::new(lookup)).expect("TLS is set up")
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused_unless_the_manifest_allows_it() {
    let server = Server::start().await;
    let url = format!("http://inside.test:{}/json", server.address.port());
    let mut inside = request("GET", &url);
    assert_eq!(answered(resolving(&[&["127.0.0.1"]]).send(inside.clone()).await).status, 200);
    inside.allow_private = false;
    for address in ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1"] {
        let (code, message) = not_sent(resolving(&[&[address]]).send(inside.clone()).await);
        assert_eq!(code, ErrorCode::ToolForbidden, "{message}");
        assert!(message.contains("inside.test is at a private address"), "{message}");
    }
    assert_eq!(server.seen.lines().len(), 1);
}

#[tokio::test]
async fn a_name_is_resolved_once_so_that_the_checked_address_is_the_one_connected_to() {
    let lookup = Arc::new(Scripted(vec![vec!["127.0.0.1".parse().expect("an address")]], AtomicUsize::new(0)));
    let client = HttpClient::with_lookup(Arc::new(SystemClock::new()), lookup.clone()).expect("TLS is set up");
    let server = Server::start().await;
    let url = format!("http://inside.test:{}/json", server.address.port());
    answered(client.send(request("GET", &url)).await);
    assert_eq!(lookup.1.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_was_never_made_is_known_to_have_had_no_effect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let (code, message) = not_sent(client().send(request("POST", &format!("http://{address}/"))).await);
    assert_eq!(code, ErrorCode::ToolFailed, "{message}");
}

#[tokio::test]
async fn a_connection_that_breaks_after_sending_leaves_the_outcome_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let hang_up = async {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let read = stream.read(&mut [0; 1024]).await.expect("a request");
            assert!(read > 0);
        }
    };
    let client = client();
    let sending = async {
        let (code, message) = unknown(client.send(request("POST", &url)).await);
        assert_eq!(code, ErrorCode::EffectUnknown, "{message}");
        assert_eq!(unknown(client.send(request("GET", &url)).await).0, ErrorCode::ToolFailed);
    };
    tokio::join!(hang_up, sending);
}

#[tokio::test]
async fn an_answer_that_is_late_or_too_long_is_an_error_of_its_own() {
    let server = Server::start().await;
    let (code, message) = unknown(client().send(request("GET", &server.url("large"))).await);
    assert_eq!(code, ErrorCode::ToolFailed);
    assert!(message.contains("longer than 65536 bytes"), "{message}");
    server.seen.arrived.notified().await;

    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let client = HttpClient::new(clock.clone()).expect("TLS is set up");
    let late = async {
        server.seen.arrived.notified().await;
        clock.advance(Duration::from_secs(20));
    };
    let (outcome, ()) = tokio::join!(client.send(request("POST", &server.url("never"))), late);
    assert_eq!(unknown(outcome), (ErrorCode::EffectUnknown, "no whole answer within 20000 ms".to_owned()));
}
