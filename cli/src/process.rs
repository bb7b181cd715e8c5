//! A node in a process of its own, so that it can be killed: for the demo, the chaos suite and the tests.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use steward_types::{Clock as _, SystemClock};
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::commands::up::{READY_FILE, ROOT_KEY_FILE, Ready};

/// How long a node, or anything else that is awaited here, may take.
pub const START_TIME_MAX: Duration = Duration::from_secs(60);
/// How often a condition is looked at while it is awaited.
const POLL_TIME: Duration = Duration::from_millis(25);

/// Waits until `ready` gives something, at most [`START_TIME_MAX`].
///
/// # Errors
/// When it gives nothing in that time.
pub async fn until<T>(what: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> anyhow::Result<T> {
    let clock = SystemClock::new();
    loop {
        if let Some(found) = ready().await {
            return Ok(found);
        }
        ensure!(clock.monotonic() < START_TIME_MAX, "{what} did not come within {} s", START_TIME_MAX.as_secs());
        clock.sleep(POLL_TIME).await;
    }
}

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A node.
    Node,
    /// The served store of a cluster.
    Store {
        /// The folder with its certificates.
        identity: PathBuf,
    },
}

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct NodeSetup {
    /// The `steward` binary.
    pub binary: PathBuf,
    /// A folder of its own: configuration, log and data go there.
    pub folder: PathBuf,
    /// What it is.
    pub role: Role,
    /// The configuration, but for `data` and `listen`.
    pub config: String,
    /// Environment variables that it gets besides its parent's.
    pub environment: Vec<(String, String)>,
}

impl NodeSetup {
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The file that its configuration is written to, and that stands in its command line.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("node.toml")
    }

    fn spawn(&self, address: &str) -> anyhow::Result<Child> {
        let (config, data) = (self.config_file(), self.data());
        std::fs::create_dir_all(&data).with_context(|| format!("{} cannot be made", data.display()))?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("node.log"))?;
        let mut node = Command::new(&self.binary);
        match &self.role {
            Role::Node => {
                let place = data.to_str().context("the node's folder is not UTF-8")?;
                std::fs::write(&config, format!("data = {place:?}\nlisten = {address:?}\n{}", self.config))?;
                node.args(["up", "--config"]).arg(config);
            }
            Role::Store { identity } => {
                node.args(["store", "serve", "--listen", address, "--identity"]).arg(identity).arg(data);
            }
        }
        node.envs(self.environment.iter().cloned());
        node.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        node.spawn().with_context(|| format!("{} cannot be started", self.binary.display()))
    }
}

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct NodeProcess {
    setup: NodeSetup,
    child: Child,
    server: String,
}

impl NodeProcess {
    /// Starts a node on a free port.
    ///
    /// # Errors
    /// When it does not get ready; with the last lines of its log.
    pub async fn start(setup: NodeSetup) -> anyhow::Result<Self> {
        let child = setup.spawn("127.0.0.1:0")?;
        let mut node = Self { setup, child, server: String::new() };
        node.server = node.ready().await?;
        Ok(node)
    }

    /// Where it listens.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Its process's id.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// The file with its root key.
    pub fn root_key_file(&self) -> PathBuf {
        self.setup.data().join(ROOT_KEY_FILE)
    }

    /// The file that it logs to.
    pub fn log_file(&self) -> PathBuf {
        self.setup.folder.join("node.log")
    }

    /// A client with the node's root key.
    ///
    /// # Errors
    /// When the key's file cannot be read.
    pub fn root_client(&self) -> anyhow::Result<Client> {
        let file = self.root_key_file();
        let key = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        Client::new(&self.server, Some(key.trim()))
    }

    /// Kills it with SIGKILL, as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended before.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("the node had ended with {status} before it was killed:\n{}", self.last_log_lines());
        }
        self.child.kill().await?;
        remove_if_there(&self.setup.data().join(READY_FILE))
    }

    /// What it is started with from now on: another release, in a rolling upgrade.
    pub fn replace_binary(&mut self, binary: PathBuf) {
        self.setup.binary = binary;
    }

    /// Starts it again on the same data and address.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let address = self.server.trim_start_matches("http://").trim_start_matches("served:");
        self.child = self.setup.spawn(address)?;
        self.server = self.ready().await?;
        Ok(())
    }

    /// Stops its process where it stands, with SIGSTOP.
    ///
    /// # Errors
    /// When it had ended before.
    pub async fn pause(&mut self) -> anyhow::Result<()> {
        self.signal("STOP").await
    }

    /// Lets it go on, with SIGCONT.
    ///
    /// # Errors
    /// When it had ended before.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        self.signal("CONT").await
    }

    async fn signal(&mut self, name: &str) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("the node had ended with {status} before it got SIG{name}:\n{}", self.last_log_lines());
        }
        let id = self.id().to_string();
        let told = Command::new("kill").args([&format!("-{name}"), &id]).status().await?;
        ensure!(told.success(), "the node could not be sent SIG{name}");
        Ok(())
    }

    /// Stops it gracefully with SIGTERM.
    ///
    /// # Errors
    /// When it does not end in time, or ends badly.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.terminate().await
    }

    /// Stops it gracefully with SIGTERM; it can be started again.
    ///
    /// # Errors
    /// When it does not end in time, or ends badly.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal("TERM").await?;
        let ended = tokio::time::timeout(START_TIME_MAX, self.child.wait()).await;
        let status = ended.context("the node did not stop in time")??;
        ensure!(status.success(), "the node stopped with {status}:\n{}", self.last_log_lines());
        remove_if_there(&self.setup.data().join(READY_FILE))
    }

    async fn ready(&mut self) -> anyhow::Result<String> {
        let file = self.setup.data().join(READY_FILE);
        let found = until("the node", async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(anyhow::anyhow!("the node ended with {status}:\n{}", self.last_log_lines())));
            }
            let json = std::fs::read_to_string(&file).ok()?;
            serde_json::from_str::<Ready>(&json).ok().map(|ready| Ok(ready.server))
        });
        found.await?
    }

    fn last_log_lines(&self) -> String {
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn remove_if_there(file: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", file.display()))
        }
        _ => Ok(()),
    }
}
