//! What a project keeps in the store, beside its budget.
//!
//! | key | holds |
//! |---|---|
//! | `("project", name)` | the project |
//! | `("api_key", id)` | an API key, of a project or of the node |
//! | `("project_key", project, id)` | that the project has this key |
//! | `("project_module", project, name)` | a module that the project's agents may import |

use serde::{Deserialize, Serialize};
use steward_storage::{Record, key::pack};
use steward_types::{ModuleId, ProjectId, Timestamp};

use crate::agent::FileRecord;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRecord {
    /// When it was created.
    pub created: Timestamp,
    /// The chains that anchor its receipts.
    pub chains: Vec<String>,
    /// How long its receipts may wait before they are anchored, in milliseconds.
    pub anchor_interval_ms: u64,
    /// How many of them may wait; nothing: the time alone counts.
    #[serde(default)]
    pub anchor_receipts: Option<u64>,
}

impl Record for ProjectRecord {
    const NAME: &'static str = "project";
    const VERSION: u16 = 1;
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Use a project.
    Member,
    /// Also manage it.
    Admin,
    /// Manage the node and every project.
    Root,
}

/// An API key as it is kept: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: String,
    /// Its project; absent for a key of the node.
    pub project: Option<ProjectId>,
    /// What people call it.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of its secret.
    pub secret_hash: [u8; 32],
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

impl Record for ApiKey {
    const NAME: &'static str = "api_key";
    const VERSION: u16 = 1;
}

/// A module of a project: what an agent takes along that imports it and is deployed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRecord {
    /// Its source.
    pub file: FileRecord,
    /// When it last changed.
    pub updated: Timestamp,
}

impl Record for ModuleRecord {
    const NAME: &'static str = "project_module";
    const VERSION: u16 = 1;
}

pub(super) fn project_row(project: &ProjectId) -> Vec<u8> {
    pack(&("project", project.as_str()))
}

pub(super) fn projects() -> Vec<u8> {
    pack(&("project",))
}

pub(crate) fn key_row(id: &str) -> Vec<u8> {
    pack(&("api_key", id))
}

pub(super) fn project_key_row(project: &ProjectId, id: &str) -> Vec<u8> {
    pack(&("project_key", project.as_str(), id))
}

pub(super) fn project_keys(project: &ProjectId) -> Vec<u8> {
    pack(&("project_key", project.as_str()))
}

pub(super) fn module_row(project: &ProjectId, module: &ModuleId) -> Vec<u8> {
    pack(&("project_module", project.as_str(), module.as_str()))
}

pub(super) fn modules(project: &ProjectId) -> Vec<u8> {
    pack(&("project_module", project.as_str()))
}
