//! Starts anvil, a real EVM chain for development and tests, on a free port of the loopback interface.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use steward_adapters::signer::SecretKey;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use url::Url;

/// How long anvil may take to listen.
const READY_TIME_MAX: Duration = Duration::from_secs(30);
/// Anvil's first account: the same in every anvil, known to everyone, rich on no other chain.
const DEVELOPMENT_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// A running anvil. It ends when this is dropped.
pub struct Anvil {
    child: Child,
    url: Url,
}

/// When anvil makes blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// One for each transaction.
    Automatic,
    /// One every so many seconds.
    EverySeconds(u64),
    /// Only when told to.
    Manual,
}

/// Why anvil does not run.
#[derive(Debug, Error)]
pub enum AnvilError {
    /// The program is not where it is looked for.
    #[error("anvil is not at {path}: run tests/setup.sh, or name the program in STEWARD_ANVIL")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It did not start, or ended at once.
    #[error("anvil did not start: {reason}")]
    Start {
        /// What happened.
        reason: String,
    },
    /// It did not listen in time.
    #[error("anvil did not listen within {READY_TIME_MAX:?}")]
    TimedOut,
}

impl Anvil {
    /// The first account of its development mnemonic, which has plenty.
    pub const DEVELOPMENT_ACCOUNT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    /// Where the tests' anvil lies in a checkout whose root is `workspace`: what `STEWARD_ANVIL` names if `named` is
    /// given, else below `tests/.cache`.
    pub fn program(workspace: &Path, named: Option<PathBuf>) -> PathBuf {
        named.unwrap_or_else(|| {
            workspace.join("tests/.cache/contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
        })
    }

    /// Starts the program with a fresh chain and waits until it listens. Dropping the future ends it.
    ///
    /// # Errors
    /// [`AnvilError`] that says what to do.
    pub async fn start(program: &Path, mining: Mining) -> Result<Self, AnvilError> {
        if !program.is_file() {
            return Err(AnvilError::Missing { path: program.to_owned() });
        }
        let start = |reason: std::io::Error| AnvilError::Start { reason: reason.to_string() };
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", "0"]);
        match mining {
            Mining::Automatic => {}
            Mining::EverySeconds(seconds) => {
                command.arg("--block-time").arg(seconds.to_string());
            }
            Mining::Manual => {
                command.arg("--no-mining");
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().map_err(start)?;
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let url = match tokio::time::timeout(READY_TIME_MAX, listening(&mut lines)).await {
            Ok(url) => url?,
            Err(_) => return Err(AnvilError::TimedOut),
        };
        // Anvil goes on to print each request; somebody must read it, or the pipe fills up and anvil waits for ever.
        #[expect(clippy::disallowed_methods, reason = "ends by itself when the child that it reads from ends")]
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, url })
    }

    /// Where it answers.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The key of its first account, which has plenty.
    pub fn development_key() -> SecretKey {
        DEVELOPMENT_KEY.parse().expect("the key is 64 hexadecimal digits")
    }

    /// Ends it and waits until it has ended.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn stop(mut self) -> std::io::Result<()> {
        self.child.kill().await
    }
}

impl fmt::Debug for Anvil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anvil").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

async fn listening(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<Url, AnvilError> {
    let wrong = |reason: String| AnvilError::Start { reason };
    while let Some(line) = lines.next_line().await.map_err(|error| wrong(error.to_string()))? {
        if let Some(address) = line.strip_prefix("Listening on ") {
            return Url::parse(&format!("http://{}", address.trim())).map_err(|error| wrong(error.to_string()));
        }
    }
    Err(wrong("it ended before it listened".to_owned()))
}
