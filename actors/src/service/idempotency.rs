//! Idempotency keys: a repeated request answers as the first did.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;
use steward_storage::{StoreExt, Txn, key::pack};
use steward_types::ProjectId;
use steward_types::limits::IDEMPOTENCY_KEY_BYTES_MAX;

use super::{Failure, Steward};

impl Steward {
    /// Runs `body` once for a project's request of this kind and key, and answers a repetition with the first's result.
    /// An empty key makes every request its own.
    pub(super) async fn once<T, F, Fut>(
        &self,
        project: &ProjectId,
        request: &str,
        key: &str,
        mut body: F,
    ) -> Result<T, Failure>
    where
        T: Serialize + DeserializeOwned + Send,
        F: FnMut(Txn) -> Fut + Send,
        Fut: Future<Output = Result<T, Failure>> + Send,
    {
        check_key(key)?;
        if key.is_empty() {
            return self.store().run(&mut body).await;
        }
        let marker = pack(&("once", project.as_str(), request, key));
        steward_storage::run_idempotent(self.store().as_ref(), &marker, body).await
    }
}

/// Refuses a key that is too long.
pub(super) fn check_key(key: &str) -> Result<(), Failure> {
    if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(Failure::field("idempotency_key", format!("at most {IDEMPOTENCY_KEY_BYTES_MAX} bytes")));
    }
    Ok(())
}
