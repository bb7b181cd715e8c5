//! gRPC-web as pages speak it: through Node's fetch, and through a real browser where there is one.

use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::parts;
use crate::tenant::{PROJECT, Tenant};

/// A page that does what `grpc_web.mjs` says and tells its own site what came of it.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>Steward</title>
<script type="module">
  const tell = (what) => fetch("/told", { method: "POST", body: JSON.stringify(what) });
  try {
    const { scenario } = await import("./grpc_web.mjs");
    const query = new URLSearchParams(location.search);
    await tell(await scenario(query.get("server"), query.get("key"), query.get("session")));
  } catch (error) {
    await tell({ error: String(error?.message ?? error) });
  }
</script>"#;
/// Longest wait for the page.
const PAGE_TIME_MAX: Duration = Duration::from_secs(120);

async fn tenant_with_session() -> (Tenant, String) {
    let tenant = Tenant::start().await;
    tenant.deploy("echo", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    let session = tenant.open("echo").await;
    (tenant, session)
}

fn assert_worked(told: &Value) {
    assert_eq!(told["projects"], json!([PROJECT]), "{told}");
    assert_eq!(told["replies"], json!(["hello from a page"]), "{told}");
    let sequences = told["sequences"].as_array().unwrap();
    let expected: Vec<Value> = (1..=sequences.len()).map(Value::from).collect();
    assert_eq!(sequences, &expected, "{told}");
    assert_eq!((&told["stranger"], &told["absent"]), (&json!(16), &json!(5)), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_of_node_calls_and_streams_across_origins() {
    let (tenant, session) = tenant_with_session().await;
    let mut node = Command::new("node");
    node.arg(parts::client("web.mjs")).args([tenant.node.server(), &tenant.key, &session]).kill_on_drop(true);
    let ended = node.output().await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(told["cors"], json!({ "ok": true, "origin": true, "headers": true, "method": true }));
    assert_worked(&told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_real_browser_calls_and_streams_across_origins() {
    let Some(chromium) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(parts::on_path) else {
        println!("no Chromium on the PATH (tests/setup.sh installs it where it may): only Node's fetch was tried");
        return;
    };
    let (tenant, session) = tenant_with_session().await;
    let (mut tasks, (tell, mut told)) = (JoinSet::new(), mpsc::channel(1));
    let site = serve_page(&mut tasks, tell).await;
    let page = format!("{site}/?server={}&key={}&session={session}", tenant.node.server(), tenant.key);
    let mut browser = Command::new(chromium);
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]);
    browser.args(["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]);
    browser.arg(format!("--user-data-dir={}", tenant.folder.path().join("browser").display()));
    // With a port for debugging it stays open until it is told to go.
    browser.args(["--remote-debugging-port=0", &page]).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut browser = browser.spawn().unwrap();
    let result = tokio::time::timeout(PAGE_TIME_MAX, told.recv()).await.expect("the page tells").unwrap();
    let id = browser.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    browser.wait().await.unwrap();
    assert_worked(&result);
}

/// Serves the page on an origin of its own, and passes on what it tells.
async fn serve_page(tasks: &mut JoinSet<()>, tell: mpsc::Sender<Value>) -> String {
    let module = std::fs::read_to_string(parts::client("grpc_web.mjs")).unwrap();
    let told = move |body: String| {
        let tell = tell.clone();
        async move { tell.send(serde_json::from_str(&body).unwrap()).await.unwrap() }
    };
    let router = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/grpc_web.mjs", get(|| async move { ([(CONTENT_TYPE, "text/javascript")], module) }))
        .route("/told", post(told));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    site
}
