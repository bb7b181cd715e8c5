//! Agents: scripts with a manifest, deployed as versions that never change.
//!
//! A file is kept once under its hash, however many versions have it; a version names its files by hash. So deploying
//! the same bundle twice makes one version, and a turn finds the files of the version that it began with for ever.

mod bundle;
mod entity;
mod programs;
pub mod read;
mod record;

pub use bundle::{BundleError, CheckedBundle, MANIFEST_FILE, UploadedBundle};
pub use entity::{Agent, AgentEnvironment, AgentRequest, AgentResponse, Deploy};
pub use programs::StoredPrograms;
pub use record::{AgentRecord, FileRecord, VersionRecord};
