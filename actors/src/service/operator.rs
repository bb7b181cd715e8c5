//! What operators do to the cluster. Each operation leaves an entry in the audit trail: in its own transaction where it
//! has one, else before it begins and again with its outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use steward_adapters::breaker::Forced;
use steward_storage::StoreExt;
use steward_types::limits::{AUDIT_ARGUMENTS_BYTES_MAX, OPERATIONS_NODE_TIME_MAX, PAUSE_REASON_BYTES_MAX};
use steward_types::{NodeId, Timestamp};

use super::members::{ClusterChange, Member, ShardPlace, unknown_node};
use super::query::{Gathered, NodeAnswer, NodeQuery, NodeReport, entity_id};
use super::{Failure, Steward, unknown_chain};
use crate::audit::{self, AuditEntry, AuditOutcome};
use crate::chain::{Deployment, ForcedBreaker, forced};
use crate::host::Deadline;
use crate::pause::{self, Pause, PauseSubject};

/// An operator at work: the key that asks, and what it asks of.
#[derive(Debug, Clone)]
pub struct Operator {
    steward: Steward,
    key: String,
}

impl Steward {
    /// What the holder of an operator's key may do. The caller has checked that it is one.
    pub fn operator(&self, key: impl Into<String>) -> Operator {
        Operator { steward: self.clone(), key: key.into() }
    }

    /// The cluster's nodes, and how each says it is.
    pub async fn nodes(&self) -> (Vec<Member>, Gathered<NodeReport>) {
        let reports = self.ask_nodes(NodeQuery::Report, |answer| match answer {
            NodeAnswer::Report(report) => Some(*report),
            _ => None,
        });
        let reports = reports.await;
        (self.members().all(), reports)
    }

    /// Every shard, by number.
    pub fn shards(&self) -> Vec<ShardPlace> {
        self.members().shards()
    }

    /// The newest entries of the audit trail before `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// The store's.
    pub async fn audit_trail(
        &self,
        before: Option<(Timestamp, [u8; 16])>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Failure> {
        Ok(audit::list(self.store(), before, limit).await?)
    }

    /// Everything that is paused.
    ///
    /// # Errors
    /// The store's.
    pub async fn pauses(&self) -> Result<Vec<Pause>, Failure> {
        Ok(pause::all(self.store()).await?)
    }
}

impl Operator {
    /// Hands every shard of a node to the others, and keeps it from taking new ones until [`undrain`](Self::undrain).
    /// Calls to it are served all along.
    ///
    /// # Errors
    /// [`ErrorCode::NodeNotFound`], [`ErrorCode::NodeAlone`], [`ErrorCode::NodeUnreachable`];
    /// [`ErrorCode::DeadlineExceeded`] when shards are left after `within`: it goes on draining.
    pub async fn drain(&self, node: NodeId, within: Duration) -> Result<(), Failure> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let arguments = json!({ "within_ms": within_ms });
        let drain = async {
            self.known(node)?;
            let time = within.saturating_add(OPERATIONS_NODE_TIME_MAX);
            self.steward.ask_node(node, NodeQuery::Drain { within_ms }, time).await.map(drop)
        };
        self.audited("drain", node.to_string(), arguments, drain).await
    }

    /// Lets a node take shards again.
    ///
    /// # Errors
    /// [`ErrorCode::NodeNotFound`], [`ErrorCode::NodeUnreachable`].
    pub async fn undrain(&self, node: NodeId) -> Result<(), Failure> {
        let undrain = async {
            self.known(node)?;
            self.steward.ask_node(node, NodeQuery::Undrain, OPERATIONS_NODE_TIME_MAX).await.map(drop)
        };
        self.audited("undrain", node.to_string(), Value::Null, undrain).await
    }

    /// Puts a shard on a node for as long as that is up, or leaves it to the placement again. Returns when that is
    /// noted; its owner then moves it.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] for a number that no shard has; [`ErrorCode::NodeNotFound`],
    /// [`ErrorCode::NodeNotUp`], [`ErrorCode::NodeAlone`].
    pub async fn place_shard(&self, shard: u32, on: Option<NodeId>) -> Result<(), Failure> {
        let entry = self.entry("move shard", shard.to_string(), json!({ "to": on }));
        self.change(ClusterChange::Place { shard, on }, entry).await
    }

    /// Takes a node for dead now. If it lives, it loses its shards and joins again.
    ///
    /// # Errors
    /// [`ErrorCode::NodeNotFound`], [`ErrorCode::NodeAlone`].
    pub async fn evict(&self, node: NodeId) -> Result<(), Failure> {
        self.change(ClusterChange::Evict(node), self.entry("evict", node.to_string(), Value::Null)).await
    }

    /// Makes an entity leave memory, on whichever node it is, once what it has in hand is done. False when it was not
    /// live. Nodes that did not answer are named.
    ///
    /// # Errors
    /// [`ErrorCode::EntityNotFound`] for an unknown kind.
    pub async fn stop_actor(&self, kind: &str, id: &str, deadline: Deadline) -> Result<Gathered<bool>, Failure> {
        let query = NodeQuery::Stop { kind: kind.to_owned(), id: entity_id(id)?.to_string() };
        let time = deadline.remaining(self.steward.clock().as_ref());
        self.order("stop actor", kind, id, query, time).await
    }

    /// Lets an entity out of quarantine, on whichever node it is. False when it was not in it. Nodes that did not answer
    /// are named.
    ///
    /// # Errors
    /// [`ErrorCode::EntityNotFound`] for an unknown kind.
    pub async fn release_actor(&self, kind: &str, id: &str) -> Result<Gathered<bool>, Failure> {
        let query = NodeQuery::Release { kind: kind.to_owned(), id: entity_id(id)?.to_string() };
        self.order("release actor", kind, id, query, OPERATIONS_NODE_TIME_MAX).await
    }

    /// Tells an entity something, past every check: what the kind's request type reads.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] when the kind cannot read the message.
    pub async fn tell_actor(&self, kind: &str, id: &str, message: Value) -> Result<(), Failure> {
        let tell = async { self.steward.tell_actor(kind, id, message.clone()) };
        self.audited("tell actor", format!("{kind} {id}"), message.clone(), tell).await
    }

    /// Asks an entity something, past every check, and waits for its answer until the deadline.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] when the kind cannot read the request.
    pub async fn ask_actor(&self, kind: &str, id: &str, request: Value, deadline: Deadline) -> Result<Value, Failure> {
        let ask = self.steward.ask_actor(kind, id, request.clone(), deadline);
        self.audited("ask actor", format!("{kind} {id}"), request, ask).await
    }

    /// Sets a chain's breaker, or one of its endpoints, by hand, or gives it back to itself: on this node at once, on every
    /// other as soon as it sees the order, and for good.
    ///
    /// # Errors
    /// [`ErrorCode::ChainNotFound`]; [`ErrorCode::InvalidRequest`] when it has no endpoint of that name.
    pub async fn force_breaker(
        &self,
        chain: &str,
        endpoint: Option<String>,
        forced: Option<Forced>,
    ) -> Result<(), Failure> {
        let entry = self.entry("force breaker", chain.to_owned(), json!({ "endpoint": endpoint, "state": forced }));
        if let Err(failure) = self.has_breaker(chain, endpoint.as_deref()) {
            return self.failed(entry, failure).await;
        }
        let (chain, since, by) = (chain.to_owned(), entry.at, self.key.clone());
        let order = &ForcedBreaker { chain, endpoint, forced, since, by };
        let entry = &entry;
        let ordered = self.steward.store().run(|txn| async move {
            forced::order(&txn, order, &entry.id)?;
            audit::record(&txn, entry)
        });
        ordered.await?;
        forced::carry_out(&self.steward.parts().chains, order);
        if let Err(error) = self.steward.parts().anchoring.wake(&order.chain) {
            tracing::warn!(chain = %order.chain, %error, "a chain was not told of its breaker; it looks by itself");
        }
        Ok(())
    }

    /// Whether this node has the chain, and an endpoint of this name.
    fn has_breaker(&self, chain: &str, endpoint: Option<&str>) -> Result<(), Failure> {
        if !self.steward.parts().anchoring.chains().iter().any(|known| known == chain) {
            return Err(unknown_chain(chain));
        }
        let Some(endpoint) = endpoint else { return Ok(()) };
        let pool = self.steward.parts().chains.get(chain).and_then(|settings| settings.pool.as_ref());
        let names: Vec<String> = pool.iter().flat_map(|pool| pool.status()).map(|status| status.name).collect();
        if names.iter().any(|name| name == endpoint) {
            return Ok(());
        }
        let message = format!("{chain} has no endpoint {endpoint}; it has: {}", names.join(", "));
        Err(Failure::field("endpoint", message).with("chain", chain))
    }

    /// Puts a contract on a chain, once, and waits until it is final there or the deadline passes: nothing then, and it
    /// goes on.
    ///
    /// # Errors
    /// Those of [`Anchoring::deploy`](super::Anchoring::deploy).
    pub async fn deploy_contract(
        &self,
        chain: &str,
        contract: String,
        arguments: BTreeMap<String, String>,
        deadline: Deadline,
    ) -> Result<Option<Deployment>, Failure> {
        let told = json!({ "contract": contract, "arguments": arguments });
        let deploy = self.steward.parts().anchoring.deploy(chain, contract, arguments, deadline);
        self.audited("deploy contract", chain.to_owned(), told, deploy).await
    }

    /// Holds an agent, a project or a chain back until it is resumed. Pausing what is paused changes nothing.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`], [`ErrorCode::AgentNotFound`], [`ErrorCode::ChainNotFound`];
    /// [`ErrorCode::InvalidRequest`] for a reason that is too long.
    pub async fn pause(&self, subject: PauseSubject, reason: String) -> Result<(), Failure> {
        if reason.len() > PAUSE_REASON_BYTES_MAX {
            return Err(Failure::field("reason", format!("it may have {PAUSE_REASON_BYTES_MAX} bytes")));
        }
        let entry = self.entry("pause", subject.to_string(), json!({ "reason": reason }));
        if let Err(failure) = self.exists(&subject).await {
            return self.failed(entry, failure).await;
        }
        let pause = Pause { subject, since: entry.at, by: self.key.clone(), reason };
        let (pause, entry) = (&pause, &entry);
        let paused = self.steward.store().run(|txn| async move {
            pause::pause(&txn, pause).await?;
            audit::record(&txn, entry)
        });
        Ok(paused.await?)
    }

    /// Lets an agent, a project or a chain go on. Says whether it was paused. What waits is looked for at once on every
    /// node that answers, and within a minute on any other.
    ///
    /// # Errors
    /// The store's.
    pub async fn resume(&self, subject: PauseSubject) -> Result<bool, Failure> {
        let entry = self.entry("resume", subject.to_string(), Value::Null);
        let (resumed, entry) = (&subject, &entry);
        let was_paused = self.steward.store().run(|txn| async move {
            let was_paused = pause::resume(&txn, resumed).await?;
            audit::record(&txn, entry)?;
            Ok::<_, steward_storage::StoreError>(was_paused)
        });
        let was_paused = was_paused.await?;
        match &subject {
            PauseSubject::Chain(chain) => {
                if let Err(error) = self.steward.parts().anchoring.wake(chain) {
                    tracing::warn!(%chain, %error, "a resumed chain was not told; it looks by itself");
                }
            }
            PauseSubject::Project(_) | PauseSubject::Agent(..) => {
                self.steward.ask_nodes(NodeQuery::Recover, |_| Some(())).await;
            }
        }
        Ok(was_paused)
    }

    /// Runs what has no transaction of its own, between two entries.
    ///
    /// # Errors
    /// Those of `work`, and the store's when the entry cannot be written: then nothing was done.
    pub async fn audited<T>(
        &self,
        operation: &str,
        subject: String,
        arguments: Value,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let begun = AuditEntry { outcome: AuditOutcome::Begun, ..self.entry(operation, subject, arguments) };
        self.write(&begun).await?;
        match work.await {
            Ok(done) => {
                self.write(&AuditEntry { outcome: AuditOutcome::Done, ..begun }).await?;
                Ok(done)
            }
            Err(failure) => self.failed(begun, failure).await,
        }
    }

    async fn order(
        &self,
        operation: &str,
        kind: &str,
        id: &str,
        query: NodeQuery,
        time: Duration,
    ) -> Result<Gathered<bool>, Failure> {
        self.steward.host().list(kind, None, 1)?;
        let asked = async {
            let found = self.steward.ask_nodes_for(query, time, |answer| match answer {
                NodeAnswer::Was(was) => Some(was),
                _ => None,
            });
            Ok(found.await)
        };
        self.audited(operation, format!("{kind} {id}"), Value::Null, asked).await
    }

    async fn change(&self, change: ClusterChange, entry: AuditEntry) -> Result<(), Failure> {
        match self.steward.members().change(change, &entry).await {
            Ok(()) => Ok(()),
            Err(failure) => self.failed(entry, failure).await,
        }
    }

    /// Writes that an operation failed, and gives its failure back.
    async fn failed<T>(&self, entry: AuditEntry, failure: Failure) -> Result<T, Failure> {
        let outcome = AuditOutcome::Failed { code: failure.code, message: failure.message.clone() };
        if let Err(error) = self.write(&AuditEntry { outcome, ..entry }).await {
            tracing::error!(%error, "a failed operation could not be audited");
        }
        Err(failure)
    }

    async fn write(&self, entry: &AuditEntry) -> Result<(), Failure> {
        Ok(self.steward.store().run(|txn| async move { audit::record(&txn, entry) }).await?)
    }

    fn entry(&self, operation: &str, subject: String, arguments: Value) -> AuditEntry {
        AuditEntry {
            id: self.steward.entropy().bytes_16(),
            at: self.steward.clock().now(),
            key: self.key.clone(),
            node: self.steward.members().this(),
            operation: operation.to_owned(),
            subject,
            arguments: bounded(arguments),
            outcome: AuditOutcome::Done,
        }
    }

    fn known(&self, node: NodeId) -> Result<(), Failure> {
        let known = self.steward.members().all().iter().any(|member| member.id == node);
        if known { Ok(()) } else { Err(unknown_node(node)) }
    }

    async fn exists(&self, subject: &PauseSubject) -> Result<(), Failure> {
        match subject {
            PauseSubject::Project(project) => self.steward.project(project).await.map(drop),
            PauseSubject::Agent(project, agent) => self.steward.agent(project, agent, None).await.map(drop),
            PauseSubject::Chain(chain) if self.steward.parts().anchoring.chains().contains(chain) => Ok(()),
            PauseSubject::Chain(chain) => Err(unknown_chain(chain)),
        }
    }
}

/// Arguments that fit an entry: of longer ones the beginning, as the text `cut`.
fn bounded(arguments: Value) -> Value {
    let text = arguments.to_string();
    if text.len() <= AUDIT_ARGUMENTS_BYTES_MAX {
        return arguments;
    }
    json!({ "cut": text[..text.floor_char_boundary(AUDIT_ARGUMENTS_BYTES_MAX)] })
}

impl Gathered<bool> {
    /// Whether any node said yes.
    pub fn any(&self) -> bool {
        self.answers.iter().any(|(_, was)| *was)
    }
}
