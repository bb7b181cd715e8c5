//! The retry loop: runs a transaction until it commits, with bounded back-off.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use steward_types::limits::{
    TRANSACTION_ATTEMPTS_MAX, TRANSACTION_BACKOFF_MAX, TRANSACTION_BACKOFF_MIN, TRANSACTION_RETRY_TIME_MAX,
};
use steward_types::{Clock, Entropy, SeededEntropy};

use crate::record::Record;
use crate::{Store, StoreError, TransactionError, Txn};

/// Spreads retries of transactions that met once, so that they do not meet again. Quality does not matter here.
static JITTER: SeededEntropy = SeededEntropy::new(0x5374_6577_6172_6421);

/// Runs `body` in a transaction and commits it, again from the start when the store says that this may help.
///
/// `body` must be harmless to run twice, because a retried attempt may have committed unseen
/// ([`StoreError::CommitUnknown`]): write values that do not depend on how often it ran, or use [`run_idempotent`].
/// The store's error of the last attempt is returned after [`TRANSACTION_ATTEMPTS_MAX`] attempts or
/// [`TRANSACTION_RETRY_TIME_MAX`]; any other error of `body` at once.
/// Dropping the future leaves open whether the attempt in hand commits.
///
/// # Errors
/// What `body` returned, or the store's error.
pub async fn run<T, E, F, Fut>(store: &dyn Store, mut body: F) -> Result<T, E>
where
    E: TransactionError,
    F: FnMut(Txn) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut attempts = Attempts::new(store);
    loop {
        let txn = store.begin();
        let outcome = match body(txn.clone()).await {
            Ok(output) => txn.commit().await.map(|_| output).map_err(E::from),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(output) => return Ok(output),
            Err(error) => attempts.after(error).await?,
        }
    }
}

/// [`run`] for a body that must not take effect twice: its output is stored under `marker` in the same transaction,
/// and an attempt that finds the marker returns what is stored and does nothing else.
///
/// So a commit of unknown outcome is settled by asking the store, and a caller that crashed may ask again with the
/// same marker. Who chooses markers also removes them, once nobody can ask again.
///
/// # Errors
/// What `body` returned, or the store's error.
pub async fn run_idempotent<T, E, F, Fut>(store: &dyn Store, marker: &[u8], mut body: F) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: TransactionError,
    F: FnMut(Txn) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut attempts = Attempts::new(store);
    loop {
        let txn = store.begin();
        let outcome = match txn.load::<Done<T>>(marker).await {
            Ok(Some(done)) => return Ok(done.output),
            Ok(None) => match body(txn.clone()).await {
                Ok(output) => settle(&txn, marker, output).await.map_err(E::from),
                Err(error) => Err(error),
            },
            Err(error) => Err(E::from(error)),
        };
        match outcome {
            Ok(output) => return Ok(output),
            Err(error) => attempts.after(error).await?,
        }
    }
}

async fn settle<T: Serialize + DeserializeOwned>(txn: &Txn, marker: &[u8], output: T) -> Result<T, StoreError> {
    let done = Done { output };
    txn.save(marker, &done)?;
    txn.commit().await?;
    Ok(done.output)
}

/// What [`run_idempotent`] stores under its marker.
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: Serialize + DeserializeOwned")]
struct Done<T> {
    output: T,
}

impl<T: Serialize + DeserializeOwned> Record for Done<T> {
    const NAME: &'static str = "idempotency marker";
    const VERSION: u16 = 1;
}

/// The bounds of one retry loop.
struct Attempts {
    clock: Arc<dyn Clock>,
    started: Duration,
    made: u32,
}

impl Attempts {
    fn new(store: &dyn Store) -> Self {
        let clock = store.clock();
        Self { started: clock.monotonic(), clock, made: 0 }
    }

    /// Waits until the next attempt, or gives the error back when there is to be none.
    async fn after<E: TransactionError>(&mut self, error: E) -> Result<(), E> {
        self.made += 1;
        let retryable = error.store_error().is_some_and(StoreError::is_retryable);
        let elapsed = self.clock.monotonic().saturating_sub(self.started);
        if !retryable || self.made >= TRANSACTION_ATTEMPTS_MAX || elapsed >= TRANSACTION_RETRY_TIME_MAX {
            return Err(error);
        }
        match back_off(self.made) {
            Some(wait) => self.clock.sleep(wait).await,
            None => tokio::task::yield_now().await,
        }
        Ok(())
    }
}

/// How long to wait after the `attempt`th attempt: not at all after the first, then a random time up to a bound that
/// doubles ("full jitter", from the AWS Architecture Blog, "Exponential Backoff And Jitter").
fn back_off(attempt: u32) -> Option<Duration> {
    let doublings = attempt.checked_sub(2)?.min(16);
    let bound = (TRANSACTION_BACKOFF_MIN * 2u32.pow(doublings)).min(TRANSACTION_BACKOFF_MAX);
    let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1);
    Some(Duration::from_micros(JITTER.next_u64() % bound_us + 1))
}

/// The retry loops as methods of every store, `dyn Store` included.
pub trait StoreExt {
    /// [`run`] on this store.
    fn run<T, E, F, Fut>(&self, body: F) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Send,
        E: TransactionError + Send,
        F: FnMut(Txn) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send;

    /// [`run_idempotent`] on this store.
    fn run_idempotent<T, E, F, Fut>(&self, marker: &[u8], body: F) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Serialize + DeserializeOwned + Send,
        E: TransactionError + Send,
        F: FnMut(Txn) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send;
}

impl StoreExt for dyn Store {
    fn run<T, E, F, Fut>(&self, body: F) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Send,
        E: TransactionError + Send,
        F: FnMut(Txn) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        run(self, body)
    }

    fn run_idempotent<T, E, F, Fut>(&self, marker: &[u8], body: F) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Serialize + DeserializeOwned + Send,
        E: TransactionError + Send,
        F: FnMut(Txn) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        run_idempotent(self, marker, body)
    }
}

impl<S: Store> StoreExt for S {
    fn run<T, E, F, Fut>(&self, body: F) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Send,
        E: TransactionError + Send,
        F: FnMut(Txn) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        run(self, body)
    }

    fn run_idempotent<T, E, F, Fut>(&self, marker: &[u8], body: F) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Serialize + DeserializeOwned + Send,
        E: TransactionError + Send,
        F: FnMut(Txn) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        run_idempotent(self, marker, body)
    }
}
