//! Commits whose outcome nobody waits for any more.
//!
//! FoundationDB answers a commit of unknown outcome only once it can no longer happen later: after that answer, to run
//! the transaction again is safe. A caller that stops waiting before (its deadline passed, its future was dropped) has
//! no such answer. So the commit is waited for here, and until it has settled no transaction of this process begins:
//! what is run again never runs beside what it repeats.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use foundationdb::{TransactionCommitError, TransactionCommitted};
use steward_storage::StoreError;
use steward_types::limits::FDB_READ_TIME_MAX;
use tokio::sync::watch;

use crate::failure::within;
use crate::store::Shared;

type Outcome = Result<TransactionCommitted, TransactionCommitError>;
type CommitFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// How many commits are waited for here.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    commits: watch::Sender<usize>,
}

impl Settling {
    /// Waits until there are none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the cluster does not settle them.
    pub(crate) async fn done(&self) -> Result<(), StoreError> {
        if *self.commits.borrow() == 0 {
            return Ok(());
        }
        let mut commits = self.commits.subscribe();
        let settled = commits.wait_for(|&commits| commits == 0);
        // The sender is this very value, so it is not gone.
        within(FDB_READ_TIME_MAX, "outcome of an earlier commit", settled).await.map(drop)
    }
}

/// One commit that counts in [`Settling`].
struct Counted(Arc<Shared>);

impl Counted {
    fn new(store: Arc<Shared>) -> Self {
        store.client.settling.commits.send_modify(|commits| *commits += 1);
        metrics::gauge!("steward_fdb_commits_settling").increment(1);
        Self(store)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.client.settling.commits.send_modify(|commits| *commits -= 1);
        metrics::gauge!("steward_fdb_commits_settling").decrement(1);
    }
}

/// A commit in flight. Dropped before its end, it goes on among those that are [`Settling`].
pub(crate) struct Committing {
    commit: Option<CommitFuture>,
    store: Arc<Shared>,
}

impl Committing {
    /// Sends the commit.
    pub(crate) fn new(transaction: foundationdb::Transaction, store: Arc<Shared>) -> Self {
        Self { commit: Some(Box::pin(transaction.commit())), store }
    }
}

impl Future for Committing {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let commit = self.commit.as_mut().expect("a commit is not polled after its end");
        let outcome = std::task::ready!(commit.as_mut().poll(context));
        self.commit = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        let Some(commit) = self.commit.take() else { return };
        let counted = Counted::new(Arc::clone(&self.store));
        self.store.own(async move {
            let settled = commit.await.map(drop).map_err(|error| error.code());
            tracing::debug!(?settled, "a commit that nobody waited for has settled");
            drop(counted);
        });
    }
}
