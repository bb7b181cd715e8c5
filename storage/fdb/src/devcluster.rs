//! A FoundationDB cluster on this machine for development, tests and benchmarks: `fdbserver` processes on free ports of
//! the loopback interface, with their files in one folder. Any of them can be killed and paused. Never for data that
//! counts.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use foundationdb::options::{ConflictRangeType, TransactionOption};
use foundationdb::{Database, FdbError, Transaction};
use futures::future::select_all;
use thiserror::Error;
use tokio::process::{Child, Command};

use crate::FdbOpenError;
use crate::client::{self, describe};

/// Names the environment variable that names the `fdbserver` binary.
pub const SERVER_VARIABLE: &str = "FDB_SERVER";
/// How long a new cluster may take until it serves.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// A running cluster. Its processes are killed when this is dropped, and end by themselves when this process ends.
#[derive(Debug)]
pub struct DevCluster {
    binary: PathBuf,
    folder: PathBuf,
    processes: Vec<Process>,
}

#[derive(Debug)]
struct Process {
    number: usize,
    port: u16,
    child: Child,
}

/// Why the cluster does not run.
#[derive(Debug, Error)]
pub enum DevClusterError {
    /// The program is not where it is looked for.
    #[error("there is no fdbserver at {path}; name the program with the environment variable {SERVER_VARIABLE}")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A process of it, or one of its files, could not be made.
    #[error("the fdbserver in {folder} could not be started")]
    Start {
        /// The cluster's folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A process had ended by itself.
    #[error("the fdbserver {number} in {folder} had ended by itself; its logs are there")]
    Ended {
        /// The cluster's folder.
        folder: PathBuf,
        /// Which of its processes.
        number: usize,
    },
    /// The client library could not be loaded.
    #[error("the new FoundationDB cluster cannot be reached")]
    Client(#[from] FdbOpenError),
    /// It took longer than a minute, or refused.
    #[error("the new FoundationDB cluster in {folder} does not serve: {reason}")]
    NotServing {
        /// The cluster's folder.
        folder: PathBuf,
        /// What happened.
        reason: String,
    },
}

impl DevCluster {
    /// The `fdbserver` that the environment names, if it does.
    pub fn server_of_environment() -> Option<PathBuf> {
        std::env::var_os(SERVER_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
    }

    /// Starts so many processes of the program `binary` on an empty database in `folder`, which is made, and returns
    /// once they serve. Three or more keep two copies of everything, so that one may die.
    ///
    /// # Errors
    /// [`DevClusterError`], which says what to do or where to look.
    pub async fn start(binary: &Path, folder: &Path, processes: usize) -> Result<Self, DevClusterError> {
        if !binary.is_file() {
            return Err(DevClusterError::Missing { path: binary.to_owned() });
        }
        let failed = |source| DevClusterError::Start { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let ports = free_ports(processes).map_err(failed)?;
        let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let text = format!("steward:development@{}\n", addresses.join(","));
        let mut cluster = Self { binary: binary.to_owned(), folder: folder.to_owned(), processes: Vec::new() };
        std::fs::write(cluster.cluster_file(), text).map_err(failed)?;
        for (at, &port) in ports.iter().enumerate() {
            let child = cluster.spawn(at + 1, port)?;
            cluster.processes.push(Process { number: at + 1, port, child });
        }
        client::start(None, None)?;
        cluster.create_database().await?;
        Ok(cluster)
    }

    /// The file by which clients find it.
    pub fn cluster_file(&self) -> PathBuf {
        self.folder.join("fdb.cluster")
    }

    /// How many processes it has.
    pub fn size(&self) -> usize {
        self.processes.len()
    }

    /// Kills a process, counted from 0, as the system does when it has no memory left, and waits until it is gone.
    ///
    /// # Errors
    /// [`DevClusterError::Ended`] when it had ended by itself.
    ///
    /// # Panics
    /// When there is no such process.
    pub async fn kill(&mut self, process: usize) -> Result<(), DevClusterError> {
        self.check_alive(process)?;
        let killed = self.processes[process].child.kill().await;
        killed.map_err(|source| DevClusterError::Start { folder: self.folder.clone(), source })
    }

    /// Starts a killed process again on what it had written. It does not wait until the cluster serves.
    ///
    /// # Errors
    /// [`DevClusterError::Start`].
    ///
    /// # Panics
    /// When there is no such process.
    pub fn start_again(&mut self, process: usize) -> Result<(), DevClusterError> {
        let Process { number, port, .. } = self.processes[process];
        self.processes[process].child = self.spawn(number, port)?;
        Ok(())
    }

    /// Stops a process in the middle of whatever it does, until [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`DevClusterError::Ended`] when it had ended by itself.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn pause(&mut self, process: usize) -> Result<(), DevClusterError> {
        self.signal(process, libc::SIGSTOP)
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// [`DevClusterError::Ended`] when it had ended by itself.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn resume(&mut self, process: usize) -> Result<(), DevClusterError> {
        self.signal(process, libc::SIGCONT)
    }

    /// Ends it and waits until its processes have ended.
    ///
    /// # Errors
    /// [`DevClusterError::Ended`] when one had ended by itself.
    pub async fn stop(mut self) -> Result<(), DevClusterError> {
        for process in 0..self.size() {
            self.kill(process).await?;
        }
        Ok(())
    }

    fn signal(&mut self, process: usize, signal: i32) -> Result<(), DevClusterError> {
        self.check_alive(process)?;
        let id = self.processes[process].child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.expect("a process that has not ended has an id");
        // SAFETY: the process is a child of this one and not waited for yet, so the id is its own.
        let sent = unsafe { libc::kill(id, signal) };
        if sent == 0 { Ok(()) } else { Err(self.ended(process)) }
    }

    fn check_alive(&mut self, process: usize) -> Result<(), DevClusterError> {
        match self.processes[process].child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(self.ended(process)),
        }
    }

    fn ended(&self, process: usize) -> DevClusterError {
        DevClusterError::Ended { folder: self.folder.clone(), number: self.processes[process].number }
    }

    fn spawn(&self, number: usize, port: u16) -> Result<Child, DevClusterError> {
        let failed = |source| DevClusterError::Start { folder: self.folder.clone(), source };
        let (data, logs) = (self.folder.join(format!("data-{number}")), self.folder.join(format!("logs-{number}")));
        std::fs::create_dir_all(&logs).map_err(failed)?;
        let output = std::fs::OpenOptions::new().create(true).append(true).open(logs.join("output")).map_err(failed)?;
        let mut command = Command::new(&self.binary);
        command.arg("-p").arg(format!("127.0.0.1:{port}")).arg("-C").arg(self.cluster_file());
        command.arg("-d").arg(data).arg("-L").arg(logs);
        // Copies are kept on different machines, so each process passes for one.
        command.arg("-i").arg(format!("machine-{number}"));
        command.arg("--parentpid").arg(std::process::id().to_string());
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output).kill_on_drop(true);
        command.spawn().map_err(failed)
    }

    /// Makes the new cluster's database, and returns once it serves.
    async fn create_database(&mut self) -> Result<(), DevClusterError> {
        let folder = self.folder.clone();
        let not_serving = |reason| DevClusterError::NotServing { folder, reason };
        let (file, copies) = (self.cluster_file(), if self.size() >= 3 { 2 } else { 1 });
        let made = tokio::time::timeout(START_TIME_MAX, create_database(&file, copies));
        let ends = self.processes.iter_mut().map(|process| Box::pin(process.child.wait()));
        let outcome = tokio::select! {
            made = made => Ok(made),
            (_, process, _) = select_all(ends) => Err(process),
        };
        client::stop_at_exit();
        match outcome {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(not_serving(describe(error))),
            Ok(Err(_)) => Err(not_serving(format!("it gave no answer in {} s", START_TIME_MAX.as_secs()))),
            Err(process) => Err(self.ended(process)),
        }
    }
}

/// Ports that nobody listens on; they are held all at once, so that they differ.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>()?;
    held.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect()
}

async fn create_database(cluster_file: &Path, copies: u8) -> Result<(), FdbError> {
    let database = Database::new(cluster_file.to_str())?;
    let mut transaction = database.create_trx()?;
    loop {
        write_settings(&transaction, copies)?;
        match transaction.commit().await {
            Ok(_) => break,
            // It is made already, by a try of ours whose answer was lost.
            Err(error) if [NOT_COMMITTED, TRANSACTION_TOO_OLD].contains(&error.code()) => break,
            Err(error) => transaction = error.on_error().await?,
        }
    }
    let mut transaction = database.create_trx()?;
    while let Err(error) = transaction.get(b"any", true).await {
        transaction = transaction.on_error(error).await?;
    }
    Ok(())
}

const NOT_COMMITTED: i32 = 1020;
const TRANSACTION_TOO_OLD: i32 = 1007;

/// Writes what `fdbcli --exec "configure new single ssd"` writes, so that no `fdbcli` is needed (FoundationDB's
/// `ManagementAPI`: storage and log engine 2 are the B-tree on disk).
fn write_settings(transaction: &Transaction, copies: u8) -> Result<(), FdbError> {
    for option in [
        TransactionOption::AccessSystemKeys,
        TransactionOption::PrioritySystemImmediate,
        TransactionOption::LockAware,
        TransactionOption::UseProvisionalProxies,
        TransactionOption::InitializeNewDatabase,
    ] {
        transaction.set_option(option)?;
    }
    let (count, policy) = (copies.to_string(), policy(copies));
    let settings: [(&[u8], &[u8]); 10] = [
        (b"\xff/conf/initialized", b"1"),
        (b"\xff/conf/log_replicas", count.as_bytes()),
        (b"\xff/conf/log_anti_quorum", b"0"),
        (b"\xff/conf/log_engine", b"2"),
        (b"\xff/conf/log_replication_policy", &policy),
        (b"\xff/conf/storage_replicas", count.as_bytes()),
        (b"\xff/conf/storage_engine", b"2"),
        (b"\xff/conf/storage_replication_policy", &policy),
        (NEW_KEYS[0], b"0123456789abcdef0123456789abcdef"),
        (NEW_KEYS[1], b"0123456789abcdef"),
    ];
    settings.iter().for_each(|(key, value)| transaction.set(key, value));
    // A database that is there already has them, so that this conflicts with its making.
    NEW_KEYS
        .iter()
        .try_for_each(|key| transaction.add_conflict_range(key, &[key, &[0][..]].concat(), ConflictRangeType::Read))
}

/// The keys that the making of a database writes first.
const NEW_KEYS: [&[u8]; 2] = [b"\xff/init_id", b"\xff/moveKeysLock/Owner"];

/// The policy "so many copies, each on a machine of its own", as FoundationDB's `serializeReplicationPolicy` writes it:
/// the format's version, then each part's name with its length, little endian.
fn policy(copies: u8) -> Vec<u8> {
    let text = |text: &str| [&u32::try_from(text.len()).unwrap_or(0).to_le_bytes(), text.as_bytes()].concat();
    let version = 0x0fdb_00b0_6201_0001_u64.to_le_bytes();
    [&version[..], &text("Across"), &text("zoneid"), &u32::from(copies).to_le_bytes(), &text("One")].concat()
}
