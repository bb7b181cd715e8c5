//! What an agent keeps in the store.
//!
//! | key | holds |
//! |---|---|
//! | `("agent", project, agent)` | the agent and its newest version's number |
//! | `("agent_version", project, agent, number)` | a version |
//! | `("agent_hash", project, agent, hash)` | the number of the version of this bundle |
//! | `("file", hash, n)` | the `n`th chunk of a file |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use steward_storage::{Record, Store, StoreError, StoreExt, Txn, key::pack};
use steward_types::limits::VALUE_BYTES_MAX;
use steward_types::{AgentId, ProjectId, Timestamp};

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// The version that new turns take.
    pub newest: u64,
    /// One line for people.
    pub description: String,
    /// When it was first deployed.
    pub created: Timestamp,
}

impl Record for AgentRecord {
    const NAME: &'static str = "agent";
    const VERSION: u16 = 1;
}

/// One version of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// Its number, from 1.
    pub number: u64,
    /// SHA-256 over its files.
    pub hash: [u8; 32],
    /// When it was deployed.
    pub deployed: Timestamp,
    /// Its files by name, the manifest among them.
    pub files: BTreeMap<String, FileRecord>,
}

impl Record for VersionRecord {
    const NAME: &'static str = "agent_version";
    const VERSION: u16 = 1;
}

/// Where a file is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// SHA-256 of its bytes.
    pub hash: [u8; 32],
    /// How many bytes it has.
    pub bytes: u64,
}

impl FileRecord {
    /// Where this text is kept.
    pub fn of(text: &str) -> Self {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Self { hash: Sha256::digest(text.as_bytes()).into(), bytes }
    }
}

/// That a bundle has a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HashRecord {
    pub(super) number: u64,
}

impl Record for HashRecord {
    const NAME: &'static str = "agent_hash";
    const VERSION: u16 = 1;
}

pub(super) fn agent_row(project: &ProjectId, agent: &AgentId) -> Vec<u8> {
    pack(&("agent", project.as_str(), agent.as_str()))
}

pub(super) fn agents(project: &ProjectId) -> Vec<u8> {
    pack(&("agent", project.as_str()))
}

pub(super) fn version_row(project: &ProjectId, agent: &AgentId, number: u64) -> Vec<u8> {
    pack(&("agent_version", project.as_str(), agent.as_str(), number))
}

pub(super) fn versions(project: &ProjectId, agent: &AgentId) -> Vec<u8> {
    pack(&("agent_version", project.as_str(), agent.as_str()))
}

pub(super) fn hash_row(project: &ProjectId, agent: &AgentId, hash: &[u8; 32]) -> Vec<u8> {
    pack(&("agent_hash", project.as_str(), agent.as_str(), &hash[..]))
}

fn chunk_row(hash: &[u8; 32], number: u64) -> Vec<u8> {
    pack(&("file", &hash[..], number))
}

/// Keeps a file under its hash. A file that is there already is written again, with the same bytes.
///
/// It needs no lease: whoever writes under a hash writes the same.
pub(super) async fn write_file(store: &dyn Store, file: &FileRecord, text: &str) -> Result<(), StoreError> {
    store
        .run(|txn| async move {
            for (chunk, number) in text.as_bytes().chunks(VALUE_BYTES_MAX).zip(0_u64..) {
                txn.set(&chunk_row(&file.hash, number), chunk)?;
            }
            Ok(())
        })
        .await
}

/// The text of a file.
pub(super) async fn read_file(txn: &Txn, file: &FileRecord) -> Result<String, StoreError> {
    let corrupt = || StoreError::Corrupt(format!("the file {} is not as it was written", hex::encode(file.hash)));
    let mut bytes = Vec::new();
    for number in 0_u64.. {
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) >= file.bytes {
            break;
        }
        let chunk = txn.get(&chunk_row(&file.hash, number), steward_storage::Isolation::Snapshot).await?;
        bytes.extend_from_slice(&chunk.ok_or_else(corrupt)?);
    }
    String::from_utf8(bytes).map_err(|_| corrupt())
}
