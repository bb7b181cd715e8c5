//! Watches: after its transaction committed, a task compares what is stored with what the transaction saw, and lets
//! FoundationDB say when that changes.

use std::sync::Arc;

use bytes::Bytes;
use steward_storage::StoreError;
use steward_storage::optimistic::PendingWatch;
use steward_types::limits::{FDB_READ_TIME_MAX, TRANSACTION_BACKOFF_MAX};

use crate::failure::{self, within};
use crate::store::{Client, Shared};

/// Makes a watch active. `seen` is what its transaction saw at its end.
pub(crate) fn activate(store: &Shared, mut watch: PendingWatch, seen: Option<Bytes>) {
    let client = Arc::clone(&store.client);
    store.own(async move {
        let key = client.stored_key(watch.key());
        let outcome = tokio::select! {
            () = watch.abandoned() => return,
            () = client.closing() => return,
            outcome = changed(&client, &key, seen.as_ref()) => outcome,
        };
        match outcome {
            Ok(()) => watch.resolve(),
            // The watch resolves to an error when it is dropped; its owner then reads the key and watches again.
            Err(error) => tracing::debug!(%error, "a watch ended without a change"),
        }
    });
}

/// Returns once the value is another than `seen`, or may have been. A cluster that is away for a while ends no watch.
async fn changed(client: &Client, key: &[u8], seen: Option<&Bytes>) -> Result<(), StoreError> {
    loop {
        match wait_once(client, key, seen).await {
            Err(error) if error.is_retryable() || matches!(error, StoreError::Unavailable { .. }) => {
                tracing::debug!(%error, "a watch is set again");
                client.clock.sleep(TRANSACTION_BACKOFF_MAX).await;
            }
            outcome => return outcome,
        }
    }
}

async fn wait_once(client: &Client, key: &[u8], seen: Option<&Bytes>) -> Result<(), StoreError> {
    client.ready().await?;
    let transaction = client.watching_transaction()?;
    let value = within(FDB_READ_TIME_MAX, "value", transaction.get(key, true)).await?.map_err(failure::of_read)?;
    if value.as_deref() != seen.map(|seen| &seen[..]) {
        return Ok(());
    }
    // It compares with the value at the version just read, so no change in between is lost.
    let change = transaction.watch(key);
    let commit = within(FDB_READ_TIME_MAX, "version", transaction.commit()).await?;
    // Kept while the watch waits.
    let _transaction = commit.map_err(|error| failure::of_read(*error))?;
    change.await.map_err(failure::of_read)
}
