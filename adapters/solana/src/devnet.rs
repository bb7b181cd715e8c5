//! Starts a real SVM with JSON-RPC, for development and tests, on free ports of the loopback interface.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use solana_client::nonblocking::rpc_client::RpcClient;
use steward_types::{Clock as _, SystemClock};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use url::Url;

/// How long it may take to listen.
const READY_TIME_MAX: Duration = Duration::from_secs(60);
/// How long it may take to end by itself.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How often it is asked whether its history has begun.
const POLL_TIME: Duration = Duration::from_millis(20);

/// A running cluster of one node. It ends when this is dropped, and when this process ends in whatever way.
pub struct Devnet {
    child: Child,
    url: Url,
}

/// Why it does not run.
#[derive(Debug, Error)]
pub enum DevnetError {
    /// The program is not where it is looked for.
    #[error("the Solana devnet is not at {path}: run tests/setup.sh, or name the program in STEWARD_SOLANA_DEVNET")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It did not start, or ended at once.
    #[error("the Solana devnet did not start: {reason}")]
    Start {
        /// What happened.
        reason: String,
    },
    /// It did not listen in time.
    #[error("the Solana devnet did not listen within {READY_TIME_MAX:?}")]
    TimedOut,
}

impl Devnet {
    /// Where the tests' program lies in a checkout whose root is `workspace`: what `STEWARD_SOLANA_DEVNET` names if
    /// `named` is given, else below `tests/.cache`.
    pub fn program(workspace: &Path, named: Option<PathBuf>) -> PathBuf {
        named.unwrap_or_else(|| workspace.join("tests/.cache/solana/steward-solana-devnet"))
    }

    /// Starts a fresh cluster that makes a block every `slot` and on which these addresses have plenty, and waits until
    /// it listens and its history has begun. A transaction is final after 31 slots and expires after 151. Dropping the future ends it.
    ///
    /// # Errors
    /// [`DevnetError`] that says what to do.
    pub async fn start(program: &Path, slot: Duration, rich: &[&str]) -> Result<Self, DevnetError> {
        if !program.is_file() {
            return Err(DevnetError::Missing { path: program.to_owned() });
        }
        let start = |reason: std::io::Error| DevnetError::Start { reason: reason.to_string() };
        let mut command = Command::new(program);
        command.arg(slot.as_millis().to_string()).args(rich);
        // It ends when its standard input does.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().map_err(start)?;
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let url = match tokio::time::timeout(READY_TIME_MAX, listening(&mut lines)).await {
            Ok(url) => url?,
            Err(_) => return Err(DevnetError::TimedOut),
        };
        // Somebody must read what it goes on to print, or the pipe fills up and it waits for ever.
        #[expect(clippy::disallowed_methods, reason = "ends by itself when the child that it reads from ends")]
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        match tokio::time::timeout(READY_TIME_MAX, history(&url)).await {
            Ok(()) => Ok(Self { child, url }),
            Err(_) => Err(DevnetError::TimedOut),
        }
    }

    /// Where it answers.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Ends it and waits until it has ended.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn stop(mut self) -> std::io::Result<()> {
        // The program ends with its input, and what it started ends before it.
        drop(self.child.stdin.take());
        match tokio::time::timeout(STOP_TIME_MAX, self.child.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => self.child.kill().await,
        }
    }
}

impl fmt::Debug for Devnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Devnet").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// Returns once the cluster's history has begun, which is some slots after its start: what is signed before that seems
/// older than all that it knows of.
async fn history(url: &Url) {
    let (client, clock) = (RpcClient::new(url.to_string()), SystemClock::new());
    loop {
        if let (Ok(slot), Ok(first)) = (client.get_slot().await, client.get_first_available_block().await)
            && slot > first
        {
            return;
        }
        clock.sleep(POLL_TIME).await;
    }
}

async fn listening(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<Url, DevnetError> {
    let wrong = |reason: String| DevnetError::Start { reason };
    while let Some(line) = lines.next_line().await.map_err(|error| wrong(error.to_string()))? {
        if let Some(urls) = line.strip_prefix("Listening on ") {
            let http = urls.split(' ').next().unwrap_or_default();
            return Url::parse(http).map_err(|error| wrong(error.to_string()));
        }
    }
    Err(wrong("it ended before it listened".to_owned()))
}
