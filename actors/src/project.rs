//! Projects: the tenants, each with its budget, price list, anchoring and API keys.
//!
//! A key's secret is never stored and never part of a message: only its SHA-256 is.

mod api_key;
mod entity;
pub mod read;
mod record;
mod request;

pub use api_key::{ApiKeyText, ApiKeyTextError};
pub use entity::{Project, ProjectEnvironment};
pub use record::{ApiKey, ModuleRecord, ProjectRecord, Role};
pub use request::{CreateKey, CreateProject, ProjectRequest, ProjectResponse, ProjectView};

pub(crate) use record::key_row;
