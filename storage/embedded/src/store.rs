//! The store's handle: where transactions begin, commits are queued and backups are asked for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use steward_storage::optimistic::{self, Backend, CommitRequest, Conflicts, Snapshot, Watches};
use steward_storage::{CommitVersion, Store, StoreError, Txn};
use steward_types::Clock;
use steward_types::limits::COMMITS_QUEUED_MAX;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::backup::{self, BackupProgress, BackupSummary};
use crate::disk::{Disk, DiskSnapshot};
use crate::writer::{Commit, Writer};

/// Where the store lies and how much memory it may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedConfig {
    /// The store's folder; it is made if missing.
    pub folder: PathBuf,
    /// Bytes of blocks read from disk that are kept in memory.
    #[serde(default = "EmbeddedConfig::cache_bytes_default")]
    pub cache_bytes: u64,
    /// Bytes of journal on disk before memory is written out to tables; at least 64 MiB.
    #[serde(default = "EmbeddedConfig::journal_bytes_default")]
    pub journal_bytes_max: u64,
}

impl EmbeddedConfig {
    /// The store in `folder` with the usual sizes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            cache_bytes: Self::cache_bytes_default(),
            journal_bytes_max: Self::journal_bytes_default(),
        }
    }

    fn cache_bytes_default() -> u64 {
        128 << 20
    }

    fn journal_bytes_default() -> u64 {
        256 << 20
    }
}

/// A store in a folder of this machine. One process may have it open.
///
/// Dropping it waits for the commits in hand and releases the folder; [`close`](Store::close) does the same without
/// blocking a thread. The folder stays locked while a transaction that read is still held.
#[derive(Debug)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    finished: watch::Receiver<bool>,
}

/// What transactions, the writer and the handle share.
pub(crate) struct Shared {
    pub(crate) folder: String,
    /// The state after the last secured group; `None` once the store is closed.
    pub(crate) published: RwLock<Option<Arc<DiskSnapshot>>>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Why the writer gave up, if it did.
    pub(crate) failure: OnceLock<String>,
    queue: RwLock<Option<mpsc::Sender<Commit>>>,
    places: Arc<Semaphore>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens the store, made new if the folder is missing or empty. Recovers what a crash left; this may take seconds
    /// and blocks the thread.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process, or another handle in this one, has it open;
    /// [`StoreError::Corrupt`] when what lies there is no store that this program reads;
    /// [`StoreError::Unavailable`] when the disk refuses.
    pub fn open(config: &EmbeddedConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let disk = Disk::open(config)?;
        let version = disk.begin_epoch()?;
        let (queue, commits) = mpsc::channel();
        let shared = Arc::new(Shared {
            folder: disk.folder().to_owned(),
            published: RwLock::new(Some(Arc::new(disk.snapshot(version)))),
            watches: Arc::default(),
            clock,
            failure: OnceLock::new(),
            queue: RwLock::new(Some(queue)),
            places: Arc::new(Semaphore::new(COMMITS_QUEUED_MAX)),
        });
        let (done, finished) = watch::channel(false);
        let writer = Writer::new(Arc::clone(&shared), disk, Conflicts::new(version), version);
        let thread = std::thread::Builder::new().name("steward-storage-writer".into());
        let writer = thread.spawn(move || {
            writer.run(&commits);
            // Whoever waits sees the folder released: the writer and its disk are gone by now.
            done.send_replace(true);
        });
        let writer = writer.map_err(|source| StoreError::Unavailable {
            reason: "the system gave no thread for the store's writer".into(),
            source: Some(source),
        })?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)), finished })
    }

    /// Writes all rows, as of one version, into a checksummed file, while the store goes on serving. The file appears
    /// under its name only when it is whole and secured. Dropping the future lets the backup finish unseen.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the file cannot be written, [`StoreError::Corrupt`] when a row cannot be read.
    pub async fn backup(
        &self,
        file: &Path,
        progress: impl FnMut(BackupProgress) + Send + 'static,
    ) -> Result<BackupSummary, StoreError> {
        let (snapshot, file) = (self.shared.latest()?, file.to_owned());
        let written = tokio::task::spawn_blocking(move || backup::write(&snapshot, &file, progress));
        written.await.map_err(|_| StoreError::unavailable("the backup was stopped"))?
    }

    /// Makes a new store in `config.folder` from a backup file. The file is verified as a whole before anything is
    /// written. Blocks the thread.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the file is not a whole backup, [`StoreError::Unavailable`] when the folder is
    /// not empty or the disk refuses. A restore that failed half-way leaves a folder that cannot be opened.
    pub fn restore(
        file: &Path,
        config: &EmbeddedConfig,
        progress: impl FnMut(BackupProgress),
    ) -> Result<BackupSummary, StoreError> {
        backup::restore(file, config, progress)
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.shared.queue.write().take();
        if let Some(writer) = self.writer.lock().take() {
            // A writer that panicked has said so already.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn begin(&self) -> Txn {
        optimistic::begin(Arc::clone(&self.shared) as Arc<dyn Backend>)
    }

    fn name(&self) -> &'static str {
        "embedded"
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.shared.queue.write().take();
        // An error says that the writer is gone, which is what is waited for.
        let _ = self.finished.clone().wait_for(|finished| *finished).await;
        match self.shared.failure.get() {
            Some(reason) => Err(StoreError::unavailable(reason)),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn latest(&self) -> Result<Arc<DiskSnapshot>, StoreError> {
        self.published.read().clone().ok_or_else(|| self.closed())
    }

    fn closed(&self) -> StoreError {
        StoreError::unavailable(match self.failure.get() {
            Some(reason) => reason.clone(),
            None => format!("the store in {} is closed", self.folder),
        })
    }
}

#[async_trait]
impl Backend for Shared {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        Ok(self.latest()?)
    }

    async fn commit(&self, request: CommitRequest) -> Result<CommitVersion, StoreError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| self.closed())?;
        let (reply, outcome) = oneshot::channel();
        let commit = Commit { request, reply, place };
        let queued = self.queue.read().as_ref().is_some_and(|queue| queue.send(commit).is_ok());
        if !queued {
            return Err(self.closed());
        }
        // A writer that died with the commit in hand leaves open what became of it.
        outcome.await.unwrap_or(Err(StoreError::CommitUnknown))
    }

    fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}
