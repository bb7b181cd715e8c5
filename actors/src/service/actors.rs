//! Any entity, by kind and id: for operators.

use serde_json::Value;
use steward_types::ErrorCode;

use super::{Failure, Steward};
use crate::host::{AskJsonError, DeadLetter, Deadline, EntityId, EntityPage, Snapshot, StopOutcome};

/// An entity in full.
pub type ActorState = Snapshot;

impl Steward {
    /// The kinds of entity, by name.
    pub fn actor_kinds(&self) -> Vec<&'static str> {
        self.host().kinds()
    }

    /// Entities of a kind that are in memory or set aside, after `after`, by id, at most `limit`.
    ///
    /// # Errors
    /// [`ErrorCode::EntityNotFound`] for an unknown kind.
    pub fn actors(&self, kind: &str, after: Option<&str>, limit: usize) -> Result<EntityPage, Failure> {
        let after = after.map(entity_id).transpose()?;
        Ok(self.host().list(kind, after.as_ref(), limit)?)
    }

    /// One entity in full. It is not activated for it.
    ///
    /// # Errors
    /// [`ErrorCode::EntityNotFound`] for an unknown kind.
    pub async fn actor(&self, kind: &str, id: &str) -> Result<ActorState, Failure> {
        Ok(self.host().inspect(kind, &entity_id(id)?, self.deadline()).await?)
    }

    /// Leaves a message with an entity.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] when the kind cannot read the message.
    pub fn tell_actor(&self, kind: &str, id: &str, message: Value) -> Result<(), Failure> {
        self.host().tell_json(kind, &entity_id(id)?, message).map_err(json_failure)
    }

    /// Asks an entity and waits for its answer until the deadline.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] when the kind cannot read the request.
    pub async fn ask_actor(&self, kind: &str, id: &str, request: Value, deadline: Deadline) -> Result<Value, Failure> {
        self.host().ask_json(kind, &entity_id(id)?, request, deadline).await.map_err(json_failure)
    }

    /// Makes an entity leave memory once what it has in hand is done. False when it was not live.
    ///
    /// # Errors
    /// [`ErrorCode::EntityNotFound`] for an unknown kind.
    pub async fn stop_actor(&self, kind: &str, id: &str, deadline: Deadline) -> Result<bool, Failure> {
        let outcome = self.host().stop(kind, &entity_id(id)?, deadline).await?;
        Ok(outcome != StopOutcome::NotLive)
    }

    /// Lets an entity out of quarantine. False when it was not in it.
    ///
    /// # Errors
    /// [`ErrorCode::EntityNotFound`] for an unknown kind.
    pub fn release_actor(&self, kind: &str, id: &str) -> Result<bool, Failure> {
        Ok(self.host().release(kind, &entity_id(id)?)?)
    }

    /// The newest messages that no entity could handle, newest first.
    pub fn dead_letters(&self, count: usize) -> Vec<DeadLetter> {
        self.host().dead_letters(count)
    }
}

fn entity_id(text: &str) -> Result<EntityId, Failure> {
    EntityId::new(text).map_err(|error| Failure::field("id", error.to_string()))
}

fn json_failure(error: AskJsonError) -> Failure {
    match error {
        AskJsonError::Ask(error) => error.into(),
        AskJsonError::Malformed { .. } => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Failure::field("json", format!("{error}{cause}"))
        }
        AskJsonError::Unwritable { .. } => Failure::new(ErrorCode::Internal, error.to_string()),
    }
}
