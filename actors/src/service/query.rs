//! What one node is asked of itself, by its own edge or over a link, and how every node is asked at once. A node that
//! does not answer in time is named, never left out.

use std::time::Duration;

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use steward_inference::DeviceSnapshot;
use steward_types::limits::{OPERATIONS_NODE_TIME_MAX, OPERATIONS_NODES_AT_ONCE};
use steward_types::{ErrorCode, NodeId, Timestamp};

use super::{Failure, ModelState, ModelView, Steward};
use crate::activity::ActivityCount;
use crate::host::{DeadLetter, Deadline, EntityId, EntitySummary, KindCount, Quarantine, Snapshot};
use crate::timer::Timers;

/// A question, or an order, to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeQuery {
    /// How it is.
    Report,
    /// Its entities after one of them, by kind and id.
    Entities {
        /// Only of this kind.
        kind: Option<String>,
        /// After this one: kind and id.
        after: Option<(String, String)>,
        /// At most so many.
        limit: usize,
    },
    /// One entity in full.
    Inspect {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// Its newest dead letters.
    DeadLetters {
        /// At most so many.
        count: usize,
    },
    /// Its entities in quarantine.
    Quarantined,
    /// Make an entity leave memory.
    Stop {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// Let an entity out of quarantine.
    Release {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// Hand every shard to other nodes.
    Drain {
        /// How long that may take, in milliseconds.
        within_ms: u64,
    },
    /// Take shards again.
    Undrain,
    /// Look for sessions that have something to do.
    Recover,
}

/// What a node answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeAnswer {
    /// How it is.
    Report(Box<NodeReport>),
    /// Its entities, and whether there are more.
    Entities(Vec<EntitySummary>, bool),
    /// One entity.
    Snapshot(Box<Snapshot>),
    /// Dead letters.
    Letters(Vec<DeadLetter>),
    /// Entities in quarantine.
    Quarantined(Vec<Quarantine>),
    /// Whether there was something to do; it is done.
    Was(bool),
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its clock.
    pub now: Timestamp,
    /// When it started.
    pub started: Timestamp,
    /// The kind of its store.
    pub store: String,
    /// Whether it takes messages from outside.
    pub is_accepting: bool,
    /// Its entities.
    pub kinds: Vec<KindCount>,
    /// Dead letters since its start.
    pub dead_letters: u64,
    /// What it did since its start.
    pub activity: ActivityCount,
    /// Its devices.
    pub devices: Vec<DeviceSnapshot>,
    /// Its models.
    pub models: Vec<ModelLine>,
    /// When its certificate for other nodes ends.
    pub certificate_ends: Option<Timestamp>,
}

/// A model on a node, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelLine {
    /// Its name.
    pub id: String,
    /// Where its file came from.
    pub from: String,
    /// `loading`, `ready` or `failed`.
    pub state: String,
    /// Why it failed; empty when it did not.
    pub cause: String,
}

/// What several nodes answered, and which did not.
#[derive(Debug, Clone)]
pub struct Gathered<T> {
    /// The answers, by node.
    pub answers: Vec<(NodeId, T)>,
    /// Those that did not answer in time, or could not.
    pub missing: Vec<MissingNode>,
}

/// A node that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingNode {
    /// The node.
    pub node: NodeId,
    /// Why.
    pub reason: String,
}

impl<T> Gathered<T> {
    /// The same nodes with something else of each answer.
    pub fn map<U>(self, mut map: impl FnMut(T) -> U) -> Gathered<U> {
        let answers = self.answers.into_iter().map(|(node, answer)| (node, map(answer))).collect();
        Gathered { answers, missing: self.missing }
    }
}

impl NodeQuery {
    /// Whether query and answer are short and wanted also when a node is overloaded.
    pub const fn is_urgent(&self) -> bool {
        matches!(self, Self::Report | Self::Drain { .. } | Self::Undrain | Self::Release { .. })
    }
}

impl Steward {
    /// Answers for this node.
    ///
    /// # Errors
    /// [`ErrorCode::EntityNotFound`] for an unknown kind; those of a drain.
    pub async fn answer(&self, query: NodeQuery, deadline: Deadline) -> Result<NodeAnswer, Failure> {
        let host = self.host();
        Ok(match query {
            NodeQuery::Report => NodeAnswer::Report(Box::new(self.report().await)),
            NodeQuery::Entities { kind, after, limit } => {
                let (entities, more) = self.entities_here(kind.as_deref(), after, limit)?;
                NodeAnswer::Entities(entities, more)
            }
            NodeQuery::Inspect { kind, id } => {
                NodeAnswer::Snapshot(Box::new(host.inspect(&kind, &entity_id(&id)?, deadline).await?))
            }
            NodeQuery::DeadLetters { count } => NodeAnswer::Letters(host.dead_letters(count)),
            NodeQuery::Quarantined => NodeAnswer::Quarantined(host.quarantined()),
            NodeQuery::Stop { kind, id } => {
                let outcome = host.stop(&kind, &entity_id(&id)?, deadline).await?;
                NodeAnswer::Was(outcome != crate::host::StopOutcome::NotLive)
            }
            NodeQuery::Release { kind, id } => NodeAnswer::Was(host.release(&kind, &entity_id(&id)?)?),
            NodeQuery::Drain { within_ms } => {
                self.members().drain(Duration::from_millis(within_ms)).await?;
                NodeAnswer::Was(true)
            }
            NodeQuery::Undrain => {
                self.members().undrain().await?;
                NodeAnswer::Was(true)
            }
            NodeQuery::Recover => {
                Timers::recover(host)?;
                NodeAnswer::Was(true)
            }
        })
    }

    async fn report(&self) -> NodeReport {
        let models = &self.parts().models;
        NodeReport {
            now: self.clock().now(),
            started: self.started(),
            store: self.store().name().to_owned(),
            is_accepting: self.host().is_accepting(),
            kinds: self.host().counts(),
            dead_letters: self.host().dead_letters_total(),
            activity: self.parts().activity.count(),
            devices: models.devices(),
            models: models.views().await.iter().map(model_line).collect(),
            certificate_ends: self.members().certificate_ends(),
        }
    }

    fn entities_here(
        &self,
        only: Option<&str>,
        after: Option<(String, String)>,
        limit: usize,
    ) -> Result<(Vec<EntitySummary>, bool), Failure> {
        if let Some(only) = only {
            // An unknown kind is an error, not an empty list.
            self.host().list(only, None, 1)?;
        }
        let (first, after) = after.unzip();
        let first = first.unwrap_or_default();
        let mut found: Vec<EntitySummary> = Vec::new();
        for kind in self.host().kinds() {
            if only.is_some_and(|only| only != kind) || *kind < *first {
                continue;
            }
            let after = after.as_deref().filter(|_| *kind == *first).map(entity_id).transpose()?;
            let page = self.host().list(kind, after.as_ref(), limit - found.len())?;
            found.extend(page.entities);
            if page.more || found.len() >= limit {
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }

    /// Asks one node, this one or another.
    pub(super) async fn ask_node(&self, node: NodeId, query: NodeQuery, time: Duration) -> Result<NodeAnswer, Failure> {
        if node != self.members().this() {
            return self.members().ask(node, &query, time).await;
        }
        let deadline = self.host().deadline(time);
        tokio::select! {
            answer = self.answer(query, deadline) => answer,
            () = self.clock().sleep(time) => Err(Failure::new(ErrorCode::DeadlineExceeded, "this node is too slow to answer")),
        }
    }

    /// Asks every node that is alive, each at most for [`OPERATIONS_NODE_TIME_MAX`], and picks what is wanted.
    pub(super) async fn ask_nodes<T>(&self, query: NodeQuery, pick: fn(NodeAnswer) -> Option<T>) -> Gathered<T> {
        self.ask_nodes_for(query, OPERATIONS_NODE_TIME_MAX, pick).await
    }

    pub(super) async fn ask_nodes_for<T>(
        &self,
        query: NodeQuery,
        time: Duration,
        pick: fn(NodeAnswer) -> Option<T>,
    ) -> Gathered<T> {
        let alive: Vec<NodeId> =
            self.members().all().into_iter().filter(|member| member.state.is_alive()).map(|member| member.id).collect();
        let asked = alive.into_iter().map(|node| {
            let query = query.clone();
            async move { (node, self.ask_node(node, query, time).await) }
        });
        let mut gathered = Gathered { answers: Vec::new(), missing: Vec::new() };
        let answers: Vec<_> = futures::stream::iter(asked).buffered(OPERATIONS_NODES_AT_ONCE).collect().await;
        for (node, answer) in answers {
            let picked = answer.and_then(|answer| pick(answer).ok_or_else(|| super::error::unexpected("a node")));
            match picked {
                Ok(answer) => gathered.answers.push((node, answer)),
                Err(failure) => gathered.missing.push(MissingNode { node, reason: failure.to_string() }),
            }
        }
        gathered
    }
}

pub(super) fn entity_id(text: &str) -> Result<EntityId, Failure> {
    EntityId::new(text).map_err(|error| Failure::field("id", error.to_string()))
}

fn model_line(view: &ModelView) -> ModelLine {
    let (state, cause) = match &view.state {
        ModelState::Loading => ("loading", String::new()),
        ModelState::Ready(_) => ("ready", String::new()),
        ModelState::Failed(cause) => ("failed", cause.clone()),
    };
    ModelLine { id: view.id.to_string(), from: view.from.clone(), state: state.to_owned(), cause }
}
