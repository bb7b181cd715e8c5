//! The id of an entity within its kind: short text, cheap to clone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use steward_types::limits::ENTITY_ID_BYTES_MAX;
use steward_types::{AgentId, ModelId, ProjectId, SessionId};
use thiserror::Error;

/// Names one entity among those of its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntityId(Arc<str>);

/// The text is empty, too long or has a control character in it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not an entity id: use 1 to {ENTITY_ID_BYTES_MAX} bytes without control characters")]
pub struct EntityIdError(String);

impl EntityId {
    /// The id of the only entity of a kind that has one entity a node.
    pub fn singleton() -> Self {
        Self(Arc::from("main"))
    }

    /// Reads an id.
    ///
    /// # Errors
    /// When `text` is empty, longer than [`ENTITY_ID_BYTES_MAX`] or has a control character in it.
    pub fn new(text: impl AsRef<str>) -> Result<Self, EntityIdError> {
        let text = text.as_ref();
        if text.is_empty() || text.len() > ENTITY_ID_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(EntityIdError(text.chars().take(100).collect()));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for EntityId {
    type Err = EntityIdError;
    fn from_str(text: &str) -> Result<Self, EntityIdError> {
        Self::new(text)
    }
}

impl TryFrom<String> for EntityId {
    type Error = EntityIdError;
    fn try_from(text: String) -> Result<Self, EntityIdError> {
        Self::new(text)
    }
}

impl From<EntityId> for String {
    fn from(id: EntityId) -> String {
        id.0.as_ref().to_owned()
    }
}

impl From<&ProjectId> for EntityId {
    fn from(id: &ProjectId) -> Self {
        Self(Arc::from(id.as_str()))
    }
}

impl From<&ModelId> for EntityId {
    fn from(id: &ModelId) -> Self {
        Self(Arc::from(id.as_str()))
    }
}

impl From<&SessionId> for EntityId {
    fn from(id: &SessionId) -> Self {
        Self(Arc::from(id.to_string()))
    }
}

impl From<(&ProjectId, &AgentId)> for EntityId {
    /// `project/agent`.
    fn from((project, agent): (&ProjectId, &AgentId)) -> Self {
        Self(Arc::from(format!("{project}/{agent}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_printable_text() {
        let check = |text: &str, good: bool| assert_eq!(EntityId::new(text).is_ok(), good, "{text:?}");
        check("acme/treasurer", true);
        check(&"a".repeat(ENTITY_ID_BYTES_MAX), true);
        check("", false);
        check("a\nb", false);
        check(&"a".repeat(ENTITY_ID_BYTES_MAX + 1), false);
    }
}
