//! Any entity, by kind and id: for operators.

use serde_json::Value;
use steward_types::limits::OPERATIONS_NODE_TIME_MAX;
use steward_types::{ErrorCode, NodeId};

use super::query::{Gathered, MissingNode, NodeAnswer, NodeQuery, entity_id};
use super::{Failure, Steward};
use crate::host::{AskJsonError, DeadLetter, Deadline, EntityState, EntitySummary, Quarantine, Snapshot};

/// An entity in full.
pub type ActorState = Snapshot;

/// A page of entities.
#[derive(Debug, Clone)]
pub struct ActorPage {
    /// The entities, each with its node.
    pub actors: Vec<(NodeId, EntitySummary)>,
    /// Nodes that did not answer.
    pub missing: Vec<MissingNode>,
    /// Whether there may be more after the last.
    pub more: bool,
}

/// Where a page of entities ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorPlace {
    /// The node.
    pub node: NodeId,
    /// The kind.
    pub kind: String,
    /// The id.
    pub id: String,
}

impl Steward {
    /// The kinds of entity, by name.
    pub fn actor_kinds(&self) -> Vec<&'static str> {
        self.host().kinds()
    }

    /// A page of the entities that are in memory or set aside, on every node, by node, kind and id; of one kind, if one
    /// is named. Nodes that did not answer are named, and left out of the page.
    ///
    /// # Errors
    /// [`ErrorCode::EntityNotFound`] for an unknown kind.
    pub async fn actors(
        &self,
        kind: Option<String>,
        after: Option<ActorPlace>,
        limit: usize,
    ) -> Result<ActorPage, Failure> {
        if let Some(kind) = &kind {
            self.host().list(kind, None, 1)?;
        }
        let mut page = ActorPage { actors: Vec::new(), missing: Vec::new(), more: false };
        let (first, mut after) = after.map(|place| (place.node, (place.kind, place.id))).unzip();
        let alive = self.members().all().into_iter().filter(|member| member.state.is_alive());
        for node in alive.map(|member| member.id).filter(|node| first.is_none_or(|first| *node >= first)) {
            let after = after.take().filter(|_| first == Some(node));
            let query = NodeQuery::Entities { kind: kind.clone(), after, limit: limit - page.actors.len() };
            match self.ask_node(node, query, OPERATIONS_NODE_TIME_MAX).await {
                Ok(NodeAnswer::Entities(entities, more)) => {
                    page.actors.extend(entities.into_iter().map(|entity| (node, entity)));
                    if more || page.actors.len() >= limit {
                        page.more = true;
                        return Ok(page);
                    }
                }
                Ok(_) => return Err(super::error::unexpected("a node")),
                Err(failure) => page.missing.push(MissingNode { node, reason: failure.to_string() }),
            }
        }
        Ok(page)
    }

    /// One entity in full, and the node that has it. It is not activated for it: one that no node has in memory is
    /// shown as this node sees it.
    ///
    /// # Errors
    /// [`ErrorCode::EntityNotFound`] for an unknown kind.
    pub async fn actor(&self, kind: &str, id: &str) -> Result<(NodeId, ActorState), Failure> {
        self.host().list(kind, None, 1)?;
        let query = NodeQuery::Inspect { kind: kind.to_owned(), id: entity_id(id)?.to_string() };
        let found = self.ask_nodes(query, |answer| match answer {
            NodeAnswer::Snapshot(snapshot) => Some(*snapshot),
            _ => None,
        });
        let (this, mut answers) = (self.members().this(), found.await.answers);
        // One that is in memory or set aside before one that rests, and this node's before another's.
        answers.sort_by_key(|(node, snapshot)| (snapshot.state == EntityState::Resting, *node != this));
        let first = answers.into_iter().next();
        first.ok_or_else(|| Failure::new(ErrorCode::NodeUnreachable, "no node answered, not even this one"))
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

    /// The newest messages that no entity could handle, on every node, newest first.
    pub async fn dead_letters(&self, count: usize) -> Gathered<Vec<DeadLetter>> {
        let letters = self.ask_nodes(NodeQuery::DeadLetters { count }, |answer| match answer {
            NodeAnswer::Letters(letters) => Some(letters),
            _ => None,
        });
        letters.await
    }

    /// The entities in quarantine, on every node.
    pub async fn quarantined(&self) -> Gathered<Vec<Quarantine>> {
        let quarantined = self.ask_nodes(NodeQuery::Quarantined, |answer| match answer {
            NodeAnswer::Quarantined(quarantined) => Some(quarantined),
            _ => None,
        });
        quarantined.await
    }
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
