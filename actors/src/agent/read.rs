//! Reading agents straight from the store, without waking an entity.

use std::collections::BTreeMap;
use std::sync::Arc;

use steward_storage::{RangeRead, Store, StoreError, StoreExt, Txn, key};
use steward_types::{AgentId, ProjectId};

use super::record::{self, AgentRecord, FileRecord, VersionRecord};

/// One agent; absent when there is none of this name.
///
/// # Errors
/// The store's error.
pub async fn agent(
    store: &Arc<dyn Store>,
    project: &ProjectId,
    agent: &AgentId,
) -> Result<Option<AgentRecord>, StoreError> {
    store.begin().load_snapshot(&record::agent_row(project, agent)).await
}

/// A project's agents after `after`, by name, at most `limit`, each with its newest version.
///
/// # Errors
/// The store's error.
pub async fn agents(
    store: &Arc<dyn Store>,
    project: &ProjectId,
    after: Option<&AgentId>,
    limit: usize,
) -> Result<Vec<(AgentId, AgentRecord, VersionRecord)>, StoreError> {
    let mut range = RangeRead::prefix(&record::agents(project)).limit(limit).snapshot();
    if let Some(after) = after {
        range.begin = key::successor(&record::agent_row(project, after)).to_vec();
    }
    let range = &range;
    store
        .run(|txn| async move {
            let mut found = Vec::new();
            for (row, agent) in txn.scan::<AgentRecord>(range.clone()).await?.rows {
                let (_, _, name): (String, String, String) = key::unpack(&row)?;
                let corrupt = |what: &str| StoreError::Corrupt(format!("agent key {}: {what}", row.escape_ascii()));
                let id: AgentId = name.parse().map_err(|_| corrupt("not a name"))?;
                let version = version_in(&txn, project, &id, agent.newest).await?;
                found.push((id, agent, version.ok_or_else(|| corrupt("its newest version is gone"))?));
            }
            Ok(found)
        })
        .await
}

/// One version; absent when there is none of this number.
///
/// # Errors
/// The store's error.
pub async fn version(
    store: &Arc<dyn Store>,
    project: &ProjectId,
    agent: &AgentId,
    number: u64,
) -> Result<Option<VersionRecord>, StoreError> {
    store.run(|txn| async move { version_in(&txn, project, agent, number).await }).await
}

async fn version_in(
    txn: &Txn,
    project: &ProjectId,
    agent: &AgentId,
    number: u64,
) -> Result<Option<VersionRecord>, StoreError> {
    txn.load_snapshot(&record::version_row(project, agent, number)).await
}

/// The numbers of an agent's versions, oldest first.
///
/// # Errors
/// The store's error.
pub async fn version_numbers(
    store: &Arc<dyn Store>,
    project: &ProjectId,
    agent: &AgentId,
) -> Result<Vec<u64>, StoreError> {
    let range = &RangeRead::prefix(&record::versions(project, agent)).snapshot();
    let page = store.run(|txn| async move { txn.scan::<VersionRecord>(range.clone()).await }).await?;
    Ok(page.rows.into_iter().map(|(_, version)| version.number).collect())
}

/// The texts of a version's files, by name.
///
/// # Errors
/// The store's error; [`StoreError::Corrupt`] when a file is gone.
pub async fn files(store: &Arc<dyn Store>, version: &VersionRecord) -> Result<BTreeMap<String, String>, StoreError> {
    let mut texts = BTreeMap::new();
    for (name, file) in &version.files {
        texts.insert(name.clone(), text(store, file).await?);
    }
    Ok(texts)
}

/// The text of a file.
///
/// # Errors
/// The store's error; [`StoreError::Corrupt`] when it is gone.
pub(crate) async fn text(store: &Arc<dyn Store>, file: &FileRecord) -> Result<String, StoreError> {
    store.run(|txn| async move { record::read_file(&txn, file).await }).await
}

/// Keeps texts that are about to be deployed, each under its hash.
///
/// # Errors
/// The store's error.
pub(crate) async fn keep_texts(
    store: &Arc<dyn Store>,
    texts: impl IntoIterator<Item = &String>,
) -> Result<(), StoreError> {
    for text in texts {
        record::write_file(store.as_ref(), &FileRecord::of(text), text).await?;
    }
    Ok(())
}
