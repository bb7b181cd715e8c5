//! The store: one database of FoundationDB, under one prefix.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use foundationdb::Database;
use foundationdb::options::{DatabaseOption, TransactionOption};
use parking_lot::Mutex;
use steward_storage::optimistic::Watches;
use steward_storage::{Store, StoreCondition, StoreError, Txn};
use steward_types::Clock;
use steward_types::limits::{
    FDB_COMMIT_TIME_MAX, FDB_LOOK_TIME, FDB_PREFIX_BYTES_MAX, FDB_READ_TIME_MAX, FDB_TAG_BYTES_MAX, WATCHES_MAX,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{self, client_error, describe};
use crate::failure::within;
use crate::settling::Settling;
use crate::transaction::FdbTransaction;
use crate::{FdbConfig, FdbOpenError, cluster_file, failure};

/// Steward's data in a FoundationDB cluster. Clones are the same store.
#[derive(Debug, Clone)]
pub struct FdbStore {
    shared: Arc<Shared>,
}

/// What transactions share with their store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Arc<Client>,
    pub(crate) watches: Arc<Watches>,
    /// Watches in wait and commits that settle. They end with the store.
    tasks: Mutex<JoinSet<()>>,
}

/// What the store's tasks share with it; they do not keep the store itself.
pub(crate) struct Client {
    database: Database,
    prefix: Vec<u8>,
    tag: Option<String>,
    log_transactions: bool,
    numbers: AtomicU64,
    condition: Mutex<Option<StoreCondition>>,
    closed: watch::Sender<bool>,
    pub(crate) settling: Settling,
    pub(crate) clock: Arc<dyn Clock>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("prefix", &self.prefix.escape_ascii().to_string()).finish_non_exhaustive()
    }
}

impl FdbStore {
    /// Loads FoundationDB's client unless this process has it, and opens the database. The cluster is not asked yet: a
    /// cluster that does not answer shows in the first transaction, as [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// [`FdbOpenError`], each variant naming the file that is wrong and what to do.
    pub fn open(config: &FdbConfig, clock: Arc<dyn Clock>) -> Result<Self, FdbOpenError> {
        let (bytes, limit) = (config.prefix.len(), FDB_PREFIX_BYTES_MAX);
        if bytes > limit || config.prefix.first() == Some(&0xff) {
            return Err(FdbOpenError::Prefix { bytes, limit });
        }
        if let Some(tag) = config.tag.as_ref().filter(|tag| tag.len() > FDB_TAG_BYTES_MAX) {
            return Err(FdbOpenError::Tag { bytes: tag.len(), limit: FDB_TAG_BYTES_MAX });
        }
        cluster_file::check(&config.cluster_file)?;
        client::start(config.library.as_deref(), config.trace_folder.as_deref())?;
        let refused = |doing| move |error| client_error(doing, describe(error));
        let path = config.cluster_file.to_str();
        let database = Database::new(path).map_err(refused("open the database of the cluster file"))?;
        let watches_max = i32::try_from(WATCHES_MAX).unwrap_or(i32::MAX);
        database.set_option(DatabaseOption::MaxWatches(watches_max)).map_err(refused("raise its number of watches"))?;
        let client = Client {
            database,
            prefix: config.prefix.clone(),
            tag: config.tag.clone(),
            log_transactions: config.log_transactions,
            numbers: AtomicU64::new(0),
            condition: Mutex::default(),
            closed: watch::Sender::new(false),
            settling: Settling::default(),
            clock,
        };
        let shared = Shared { client: Arc::new(client), watches: Arc::default(), tasks: Mutex::default() };
        shared.own(look_again_and_again(Arc::clone(&shared.client)));
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What FoundationDB's client says of itself, as JSON: whether it is healthy, its connections to each server, the
    /// coordinators it knows (FoundationDB's documentation, "Client status").
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the client does not answer, [`StoreError::Corrupt`] when it answers no JSON.
    pub async fn client_status(&self) -> Result<serde_json::Value, StoreError> {
        self.shared.client.status().await
    }

    /// The share of time that the client's one network thread is busy, from 0 to 1. Near 1 it is what limits this
    /// process, and more processes would help.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the client does not say.
    pub async fn busyness(&self) -> Result<f64, StoreError> {
        self.shared.client.busyness().await
    }

    /// The version of the client library in use, such as `7.3.79`.
    pub fn client_version(&self) -> &'static str {
        client::client_version().split(',').next().unwrap_or_default()
    }
}

#[async_trait]
impl Store for FdbStore {
    fn begin(&self) -> Txn {
        Txn::new(Arc::new(FdbTransaction::new(Arc::clone(&self.shared))))
    }

    fn name(&self) -> &'static str {
        "foundationdb"
    }

    fn condition(&self) -> Option<StoreCondition> {
        self.shared.client.condition.lock().clone()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.client.clock)
    }

    async fn close(&self) -> Result<(), StoreError> {
        let client = &self.shared.client;
        // Watches in wait end by this, as do later calls.
        client.closed.send_replace(true);
        within(FDB_COMMIT_TIME_MAX, "outcome of the commits in hand", client.settling.done()).await?
    }
}

impl Shared {
    /// Runs a task that ends with the store. Without a runtime, as after its end, the task does not run.
    pub(crate) fn own(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &runtime);
    }
}

/// Looks at the client until the store is closed.
async fn look_again_and_again(client: Arc<Client>) {
    loop {
        client.look().await;
        tokio::select! {
            () = client.closing() => return,
            () = client.clock.sleep(FDB_LOOK_TIME) => {}
        }
    }
}

/// What FoundationDB's client status says (its documentation, "Client status"): `Healthy`, and each of `Connections` with
/// a `Status` of connected, connecting, disconnected or failed.
fn condition_of(status: &serde_json::Value) -> StoreCondition {
    let connections = status["Connections"].as_array().map(Vec::as_slice).unwrap_or_default();
    let count = |state: &str| {
        let found = connections.iter().filter(|connection| connection["Status"] == state).count();
        u32::try_from(found).unwrap_or(u32::MAX)
    };
    StoreCondition {
        healthy: status["Healthy"] == true,
        connections: count("connected"),
        connections_failed: count("failed"),
        busy_permille: 0,
        version: String::new(),
    }
}

fn permille(share: f64) -> u32 {
    // The client says a share from 0 to 1; `as` keeps what is not within that at the ends.
    (share * 1000.0) as u32
}

impl Drop for Client {
    fn drop(&mut self) {
        client::stop_at_exit();
    }
}

impl Client {
    /// Whether a transaction may ask the cluster: the store is open, and no commit of this process is unsettled.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        self.check_open()?;
        self.settling.done().await
    }

    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        let closed = *self.closed.borrow();
        if closed { Err(StoreError::unavailable("the FoundationDB store is closed")) } else { Ok(()) }
    }

    /// Returns once the store is closed.
    pub(crate) async fn closing(&self) {
        // The sender is this very value, so it is not gone.
        let _ = self.closed.subscribe().wait_for(|&closed| closed).await;
    }

    async fn busyness(&self) -> Result<f64, StoreError> {
        let share = self.database.get_main_thread_busyness().await.map_err(failure::of_read)?;
        metrics::gauge!("steward_fdb_client_busyness").set(share);
        Ok(share)
    }

    async fn status(&self) -> Result<serde_json::Value, StoreError> {
        let answer = self.database.get_client_status();
        let text = within(FDB_READ_TIME_MAX, "client status", answer).await?.map_err(failure::of_read)?;
        serde_json::from_slice(&text).map_err(|error| StoreError::Corrupt(format!("the client's status: {error}")))
    }

    /// Asks the client how it is, and notes it for metrics and operators. One that does not answer is not healthy.
    async fn look(&self) {
        let busy_permille = self.busyness().await.map_or(0, permille);
        let found = self.status().await.unwrap_or_default();
        let version = client::client_version().split(',').next().unwrap_or_default().to_owned();
        let condition = StoreCondition { busy_permille, version, ..condition_of(&found) };
        metrics::gauge!("steward_fdb_client_healthy").set(f64::from(u8::from(condition.healthy)));
        metrics::gauge!("steward_fdb_client_connections").set(f64::from(condition.connections));
        metrics::gauge!("steward_fdb_client_connections_failed").set(f64::from(condition.connections_failed));
        *self.condition.lock() = Some(condition);
    }

    /// A new transaction of FoundationDB's, which knows only what is sent: what a transaction of ours has written and
    /// not committed, it keeps itself.
    pub(crate) fn transaction(&self) -> Result<foundationdb::Transaction, StoreError> {
        let transaction = self.watching_transaction()?;
        transaction.set_option(TransactionOption::ReadYourWritesDisable).map_err(failure::of_read)?;
        Ok(transaction)
    }

    /// A transaction that may watch: FoundationDB refuses to where it keeps no account of a transaction's writes.
    pub(crate) fn watching_transaction(&self) -> Result<foundationdb::Transaction, StoreError> {
        let transaction = self.database.create_trx().map_err(failure::of_read)?;
        let set = |option| transaction.set_option(option).map_err(failure::of_read);
        if let Some(tag) = &self.tag {
            set(TransactionOption::Tag(tag.clone()))?;
        }
        if self.log_transactions {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            set(TransactionOption::DebugTransactionIdentifier(format!("steward-{number}")))?;
            set(TransactionOption::LogTransaction)?;
        }
        Ok(transaction)
    }

    /// A key as it stands in the database.
    pub(crate) fn stored_key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    /// How long the part of a stored key is that is not ours.
    pub(crate) fn prefix_bytes(&self) -> usize {
        self.prefix.len()
    }

    /// A key of ours, from one that was read below the prefix.
    pub(crate) fn own_key(&self, stored: &[u8]) -> Bytes {
        Bytes::copy_from_slice(stored.get(self.prefix.len()..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_read_and_one_that_says_nothing_is_not_healthy() {
        let connection = |status: &str| json!({ "Address": "127.0.0.1:4500", "Status": status });
        let connections = ["connected", "failed", "connected", "connecting"].map(connection);
        let found = condition_of(&json!({ "Healthy": true, "Connections": connections }));
        assert_eq!((found.healthy, found.connections, found.connections_failed), (true, 2, 1));
        let found = condition_of(&serde_json::Value::Null);
        assert_eq!((found.healthy, found.connections, found.connections_failed), (false, 0, 0));
    }
}
