//! Reading projects and keys straight from the store, without waking an entity.

use std::collections::BTreeMap;
use std::sync::Arc;

use steward_storage::{RangeRead, Store, StoreError, StoreExt, Txn, key::unpack};
use steward_types::{ModuleId, ProjectId};

use super::record::{self, ApiKey, ModuleRecord, ProjectRecord};
use super::request::ProjectView;
use crate::budget::{LedgerError, ledger};

/// One project; absent when there is none of this name.
///
/// # Errors
/// The ledger's error, which is the store's.
pub async fn project(store: &Arc<dyn Store>, project: &ProjectId) -> Result<Option<ProjectView>, LedgerError> {
    store.run(|txn| async move { project_in(&txn, project).await }).await
}

/// [`project`] within a transaction.
pub(super) async fn project_in(txn: &Txn, project: &ProjectId) -> Result<Option<ProjectView>, LedgerError> {
    let Some(found) = txn.load::<ProjectRecord>(&record::project_row(project)).await? else { return Ok(None) };
    let prices = ledger::prices(txn, project).await?;
    Ok(Some(ProjectView {
        id: project.clone(),
        created: found.created,
        prices,
        chains: found.chains,
        anchor_interval_ms: found.anchor_interval_ms,
        anchor_receipts: found.anchor_receipts,
    }))
}

/// The names of projects after `after`, in order, at most `limit`.
///
/// # Errors
/// The store's error.
pub async fn project_names(
    store: &Arc<dyn Store>,
    after: Option<&ProjectId>,
    limit: usize,
) -> Result<Vec<ProjectId>, StoreError> {
    let mut range = RangeRead::prefix(&record::projects()).limit(limit).snapshot();
    if let Some(after) = after {
        range.begin = steward_storage::key::successor(&record::project_row(after)).to_vec();
    }
    let range = &range;
    let page = store.run(|txn| async move { txn.range(range.clone()).await }).await?;
    let name = |key: &[u8]| -> Result<ProjectId, StoreError> {
        let (_, name): (String, String) = unpack(key)?;
        name.parse().map_err(|_| StoreError::Corrupt(format!("project key {}", key.escape_ascii())))
    };
    page.rows.iter().map(|(key, _)| name(key)).collect()
}

/// A key by its id; absent when there is none.
///
/// # Errors
/// The store's error.
pub async fn key(store: &Arc<dyn Store>, id: &str) -> Result<Option<ApiKey>, StoreError> {
    store.begin().load_snapshot(&record::key_row(id)).await
}

/// A project's keys, by id.
///
/// # Errors
/// The store's error.
pub async fn keys(store: &Arc<dyn Store>, project: &ProjectId) -> Result<Vec<ApiKey>, StoreError> {
    let range = RangeRead::prefix(&record::project_keys(project)).snapshot();
    let range = &range;
    store
        .run(|txn| async move {
            let mut found = Vec::new();
            for (row, _) in txn.range(range.clone()).await?.rows {
                let (_, _, id): (String, String, String) = unpack(&row)?;
                found.extend(txn.load_snapshot::<ApiKey>(&record::key_row(&id)).await?);
            }
            Ok(found)
        })
        .await
}

/// A project's modules, by name: at most [`steward_types::limits::PROJECT_MODULES_MAX`].
///
/// # Errors
/// The store's error.
pub async fn modules(
    store: &Arc<dyn Store>,
    project: &ProjectId,
) -> Result<BTreeMap<ModuleId, ModuleRecord>, StoreError> {
    let range = &RangeRead::prefix(&record::modules(project)).snapshot();
    let page = store.run(|txn| async move { txn.scan::<ModuleRecord>(range.clone()).await }).await?;
    let name = |key: &[u8]| -> Result<ModuleId, StoreError> {
        let (_, _, name): (String, String, String) = unpack(key)?;
        name.parse().map_err(|_| StoreError::Corrupt(format!("module key {}", key.escape_ascii())))
    };
    page.rows.into_iter().map(|(key, module)| Ok((name(&key)?, module))).collect()
}

/// Whether there is a project of this name, within a transaction.
pub(crate) async fn exists(txn: &Txn, project: &ProjectId) -> Result<bool, StoreError> {
    Ok(txn.load::<ProjectRecord>(&record::project_row(project)).await?.is_some())
}
