//! How memories lie in the store.
//!
//! | key | holds |
//! |---|---|
//! | `("memory", project, "row") versionstamp id` | a memory |
//! | `("memory", project, "id", id)` | that this memory was written |
//! | `("memory", project, "count")` | how many there are |
//! | `("memory", project, "dimensions")` | the length of the project's vectors |

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use steward_storage::{Record, StoreError, Subspace, key};
use steward_types::{HoldId, ProjectId, Timestamp};

const VERSIONSTAMP_BYTES: usize = 10;

/// Names a memory: the hold of the step that remembered it, so that a step remembers once.
pub type MemoryId = HoldId;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The text.
    pub text: String,
    /// What the agent noted beside it, as JSON.
    pub metadata: String,
    /// When it was remembered.
    pub at: Timestamp,
    /// The direction of the text's vector: 32-bit floats, little endian, of length one together.
    pub vector: Bytes,
}

impl Record for Memory {
    const NAME: &'static str = "memory";
    const VERSION: u16 = 1;
}

fn below<T: key::TuplePack>(project: &ProjectId, rest: T) -> Subspace {
    Subspace::from(("memory", project.as_str())).subspace(&rest)
}

pub(super) fn rows(project: &ProjectId) -> Vec<u8> {
    below(project, "row").bytes().to_vec()
}

pub(super) fn id(project: &ProjectId, id: MemoryId) -> Vec<u8> {
    below(project, "id").pack(&id.as_bytes().as_slice())
}

pub(super) fn count(project: &ProjectId) -> Vec<u8> {
    below(project, "count").bytes().to_vec()
}

pub(super) fn dimensions(project: &ProjectId) -> Vec<u8> {
    below(project, "dimensions").bytes().to_vec()
}

/// The id at the end of the key of a memory.
pub(super) fn row_id(prefix: &[u8], key: &[u8]) -> Result<MemoryId, StoreError> {
    let id = key.get(prefix.len() + VERSIONSTAMP_BYTES..).and_then(|id| id.try_into().ok());
    id.map(MemoryId::from_bytes).ok_or_else(|| corrupt(key))
}

pub(super) fn corrupt(key: &[u8]) -> StoreError {
    StoreError::Corrupt(format!("memory row {}", key.escape_ascii()))
}
