//! Remembering: what a step writes within its own transaction.

use bytes::Bytes;
use steward_storage::{AtomicOp, Isolation, StoreError, Txn, record};
use steward_types::limits::{
    MEMORY_DIMENSIONS_MAX, MEMORY_METADATA_BYTES_MAX, MEMORY_TEXT_BYTES_MAX, MEMORY_VECTORS_MAX,
};
use steward_types::{ProjectId, Timestamp};

use super::error::{MemoryError, check_size};
use super::records::{self, Memory, MemoryId};
use super::search::direction;

/// What a step wants to remember.
#[derive(Debug, Clone)]
pub struct NewMemory {
    /// The step's hold: the same step remembers once.
    pub id: MemoryId,
    /// The text.
    pub text: String,
    /// What the agent notes beside it; any JSON.
    pub metadata: serde_json::Value,
    /// The text's vector, of any length but zero.
    pub vector: Vec<f32>,
}

/// Whether something was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// It is new.
    New,
    /// The step remembered it before; nothing was written.
    Already,
}

/// Writes a memory into the step's transaction. Two steps that remember at the same time do not conflict; so a few more
/// than [`MEMORY_VECTORS_MAX`] may be written when many do.
///
/// # Errors
/// [`MemoryError`]; then nothing was written.
pub async fn remember(
    txn: &Txn,
    project: &ProjectId,
    new: &NewMemory,
    now: Timestamp,
) -> Result<Remembered, MemoryError> {
    let metadata = new.metadata.to_string();
    check_size("text", new.text.len(), MEMORY_TEXT_BYTES_MAX)?;
    check_size("metadata", metadata.len(), MEMORY_METADATA_BYTES_MAX)?;
    check_size("vector", new.vector.len(), MEMORY_DIMENSIONS_MAX)?;
    let vector = direction(&new.vector)?;
    let marker = records::id(project, new.id);
    if txn.get(&marker, Isolation::Serializable).await?.is_some() {
        return Ok(Remembered::Already);
    }
    // Every memory after the first finds the dimensions set, so this row is contended once.
    let given = new.vector.len();
    match dimensions(txn, project).await? {
        None => txn.set(&records::dimensions(project), &(given as u64).to_le_bytes())?,
        Some(expected) if expected == given => {}
        Some(expected) => return Err(MemoryError::Dimensions { expected, given }),
    }
    if count(txn, project).await? >= MEMORY_VECTORS_MAX as u64 {
        return Err(MemoryError::Full);
    }
    let vector: Bytes = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    let row = record::encode(&Memory { text: new.text.clone(), metadata, at: now, vector })?;
    txn.set_versionstamped_key(&records::rows(project), new.id.as_bytes(), &row)?;
    txn.set(&marker, &[])?;
    txn.atomic(&records::count(project), AtomicOp::Add, 1)?;
    Ok(Remembered::New)
}

/// How many memories the project has, without conflict detection.
///
/// # Errors
/// The store's.
pub async fn count(txn: &Txn, project: &ProjectId) -> Result<u64, StoreError> {
    Ok(number(txn, &records::count(project), Isolation::Snapshot).await?.unwrap_or(0))
}

/// The length of the project's vectors; `None` while it remembers nothing.
pub(super) async fn dimensions(txn: &Txn, project: &ProjectId) -> Result<Option<usize>, StoreError> {
    let dimensions = number(txn, &records::dimensions(project), Isolation::Serializable).await?;
    Ok(dimensions.map(|dimensions| usize::try_from(dimensions).unwrap_or(usize::MAX)))
}

async fn number(txn: &Txn, key: &[u8], read: Isolation) -> Result<Option<u64>, StoreError> {
    let Some(bytes) = txn.get(key, read).await? else { return Ok(None) };
    bytes.as_ref().try_into().map(|bytes| Some(u64::from_le_bytes(bytes))).map_err(|_| records::corrupt(key))
}
