//! Starts wasmd, a real Cosmos chain with one validator for development and tests, on free ports of the loopback
//! interface and with a folder of its own. It can be killed and started again. Never for coins that count.

mod contract;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use steward_adapters::signer::SecretKey;
use steward_types::{Clock as _, SystemClock};
use tempfile::TempDir;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use url::Url;

use crate::chain::CosmosConfig;
use crate::node::Node;
use crate::price::GasPrice;
use crate::signer::LocalSigner;

/// How long wasmd may take to listen, and then to make its first block.
const READY_TIME_MAX: Duration = Duration::from_secs(60);
/// How often its first block is asked for.
const READY_ASK_TIME: Duration = Duration::from_millis(50);
const CHAIN: &str = "cosmos:steward-devnet-1";
const PREFIX: &str = "wasm";
const DENOM: &str = "ustake";
/// Millionths of a coin for a unit of gas.
const GAS_PRICE: GasPrice = GasPrice::from_millionths(25_000);
/// Keys that are known to everyone and rich on no other chain.
const DEVELOPMENT_KEYS: [[u8; 32]; 2] = [[0xd1; 32], [0xd2; 32]];
/// What each of them has, and what the validator has and stakes.
const RICHES: &str = "1000000000000ustake";
const STAKE: &str = "100000000000ustake";

/// A running wasmd. It ends when this is dropped.
pub struct Wasmd {
    /// The process, but between [`kill`](Self::kill) and [`start_again`](Self::start_again). It goes before its folder.
    child: Option<Child>,
    program: PathBuf,
    home: TempDir,
    url: Url,
}

/// How long wasmd waits after a block before it makes the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A fifth of a second.
    Quick,
    /// Six seconds, as on many a real chain.
    Steady,
    /// So long that a test can do something before the next block.
    Slow,
}

/// Why wasmd does not run.
#[derive(Debug, Error)]
pub enum WasmdError {
    /// The program is not where it is looked for.
    #[error("wasmd is not at {path}: run tests/setup.sh, or name the program in STEWARD_WASMD")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It did not start, or ended at once, or one of its commands failed.
    #[error("wasmd did not start: {reason}")]
    Start {
        /// What happened.
        reason: String,
    },
    /// It did not listen or made no block in time.
    #[error("wasmd was not ready within {READY_TIME_MAX:?}")]
    TimedOut,
}

impl Wasmd {
    /// Where the tests' wasmd lies in a checkout whose root is `workspace`: what `STEWARD_WASMD` names if `named` is
    /// given, else below `tests/.cache`.
    pub fn program(workspace: &Path, named: Option<PathBuf>) -> PathBuf {
        named.unwrap_or_else(|| workspace.join("tests/.cache/wasmd/wasmd"))
    }

    /// Starts the program with a fresh chain and waits for its first block. Dropping the future ends it.
    ///
    /// # Errors
    /// [`WasmdError`] that says what to do.
    pub async fn start(program: &Path, pace: Pace) -> Result<Self, WasmdError> {
        if !program.is_file() {
            return Err(WasmdError::Missing { path: program.to_owned() });
        }
        let home = tempfile::tempdir().map_err(|error| failed(&error))?;
        make_genesis(program, home.path()).await?;
        let (child, url) = spawn(program, home.path(), 0, pace).await?;
        let wasmd = Self { child: Some(child), program: program.to_owned(), home, url };
        wasmd.first_block().await?;
        Ok(wasmd)
    }

    /// Where its JSON-RPC answers; the same after it was started again.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// How to reach it.
    pub fn config(&self) -> CosmosConfig {
        CosmosConfig {
            chain: CHAIN.parse().expect("it is a CAIP-2 identifier"),
            endpoint: self.url.clone(),
            prefix: PREFIX.to_owned(),
            denom: DENOM.to_owned(),
            gas_price: GAS_PRICE,
            gas_max: 1_000_000,
            pruned: false,
        }
    }

    /// The key of its first account, which has plenty.
    pub const fn development_key() -> SecretKey {
        SecretKey::from_bytes(DEVELOPMENT_KEYS[0])
    }

    /// The key of its second account, which has as much.
    pub const fn second_key() -> SecretKey {
        SecretKey::from_bytes(DEVELOPMENT_KEYS[1])
    }

    /// Kills it at once, as the system does when it has no memory left, and waits until it is gone. Its pool is lost.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn kill(&mut self) -> std::io::Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again, after [`kill`](Self::kill), on what it had written, and waits until it answers.
    ///
    /// # Errors
    /// [`WasmdError`].
    pub async fn start_again(&mut self, pace: Pace) -> Result<(), WasmdError> {
        let port = self.url.port().unwrap_or(0);
        let (child, url) = spawn(&self.program, self.home.path(), port, pace).await?;
        (self.child, self.url) = (Some(child), url);
        self.first_block().await
    }

    /// Ends it and waits until it has ended.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn stop(mut self) -> std::io::Result<()> {
        self.kill().await
    }

    async fn first_block(&self) -> Result<(), WasmdError> {
        let config = self.config();
        let node = Node::new(config.chain, config.endpoint).map_err(|error| failed(&error))?;
        let clock = SystemClock::new();
        let ready = async {
            while !node.standing().await.is_ok_and(|standing| standing.block > 0) {
                clock.sleep(READY_ASK_TIME).await;
            }
        };
        tokio::time::timeout(READY_TIME_MAX, ready).await.map_err(|_| WasmdError::TimedOut)
    }
}

impl fmt::Debug for Wasmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wasmd").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// Writes a chain's first state: a validator with a key of its own, and the development accounts.
async fn make_genesis(program: &Path, home: &Path) -> Result<(), WasmdError> {
    let chain = CHAIN.trim_start_matches("cosmos:");
    let run = async |arguments: &[&str]| run(program, home, arguments).await;
    run(&["init", "devnet", "--chain-id", chain, "--default-denom", DENOM]).await?;
    run(&["keys", "add", "validator", "--keyring-backend", "test"]).await?;
    run(&["genesis", "add-genesis-account", "validator", RICHES, "--keyring-backend", "test"]).await?;
    for key in DEVELOPMENT_KEYS {
        let signer = LocalSigner::new(&SecretKey::from_bytes(key), PREFIX).map_err(|error| failed(&error))?;
        let address = steward_adapters::Signer::address(&signer);
        run(&["genesis", "add-genesis-account", address, RICHES, "--keyring-backend", "test"]).await?;
    }
    run(&["genesis", "gentx", "validator", STAKE, "--chain-id", chain, "--keyring-backend", "test"]).await?;
    run(&["genesis", "collect-gentxs"]).await
}

async fn run(program: &Path, home: &Path, arguments: &[&str]) -> Result<(), WasmdError> {
    output(program, home, arguments).await.map(drop)
}

/// What one of its commands prints.
async fn output(program: &Path, home: &Path, arguments: &[&str]) -> Result<Vec<u8>, WasmdError> {
    let mut command = command(program, home);
    let output = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).output().await;
    let output = output.map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(WasmdError::Start { reason: format!("{}: {}", arguments.join(" "), said.trim()) })
}

/// Starts the node. Port 0 is a free one.
async fn spawn(program: &Path, home: &Path, port: u16, pace: Pace) -> Result<(Child, Url), WasmdError> {
    let mut command = command(program, home);
    command.arg("start");
    command.args(["--rpc.laddr", &format!("tcp://127.0.0.1:{port}"), "--p2p.laddr", "tcp://127.0.0.1:0"]);
    // The application answers simulations only when it serves gRPC as well.
    command.args(["--grpc.address", "127.0.0.1:0", "--grpc-web.enable=false", "--api.enable=false"]);
    command.args(["--rpc.pprof_laddr", "", "--minimum-gas-prices", &format!("{GAS_PRICE}{DENOM}")]);
    command.args(["--log_format", "plain", "--log_no_color"]);
    let block_time = match pace {
        Pace::Quick => "200ms",
        Pace::Steady => "6s",
        Pace::Slow => "20s",
    };
    command.env("WASMD_CONSENSUS_TIMEOUT_COMMIT", block_time);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| failed(&error))?;
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let mut lines = BufReader::new(stdout).lines();
    let url = match tokio::time::timeout(READY_TIME_MAX, listening(&mut lines)).await {
        Ok(url) => url?,
        Err(_) => return Err(WasmdError::TimedOut),
    };
    // It goes on to print; somebody must read it, or the pipe fills up and it waits for ever.
    #[expect(clippy::disallowed_methods, reason = "ends by itself when the child that it reads from ends")]
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, url))
}

fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--home").arg(home);
    // Its library lies beside it, wherever it was built.
    command.env("LD_LIBRARY_PATH", program.parent().map_or(OsStr::new(""), Path::as_os_str));
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

async fn listening(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<Url, WasmdError> {
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.map_err(|error| failed(&error))? {
        if let Some((_, address)) = line.split_once("Starting RPC HTTP server on ") {
            let address = address.trim_end_matches('"');
            return Url::parse(&format!("http://{address}")).map_err(|error| failed(&error));
        }
        said = line;
    }
    Err(WasmdError::Start { reason: format!("it ended before it listened, and said last: {said}") })
}

fn failed(error: &dyn fmt::Display) -> WasmdError {
    WasmdError::Start { reason: error.to_string() }
}
