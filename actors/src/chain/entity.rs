//! The entity of a chain: binds the desk to the store, the chain and those who wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;
use steward_adapters::breaker::Breaker;
use steward_adapters::chain::ChainId;
use steward_adapters::outbox::{Intent, OutboxError};
use steward_types::{ErrorCode, ProjectId, Timestamp};

use super::deploying::DeploymentWaiter;
use super::desk::{Desk, End};
use super::gauges::ShownOutbox;
use super::messages::{ChainEvent, ChainRequest, ChainResponse};
use super::ordering::{ordered_in_words, tell_sessions};
use super::orders::{self, SettleError, Waiter as WaitingStep};
use super::records::{Rows, Stored};
use super::settings::{ChainEnvironment, ChainSettings};
use crate::host::{Context, Entity, EntityId, Fault, Reply, Worker};
use crate::pause::Pause;
use crate::receipt_log;

/// Most intents that a snapshot shows.
const OBSERVED_INTENTS_MAX: usize = 20;

/// The entity of one chain.
#[derive(Debug)]
pub struct ChainActor {
    pub(super) id: ChainId,
    pub(super) settings: ChainSettings,
    pub(super) desk: Desk,
    /// What is stored now.
    rows: Rows,
    pub(super) breaker: Breaker,
    pub(super) waiters: Vec<Waiter>,
    pub(super) deployment_waiters: Vec<DeploymentWaiter>,
    /// When each followed log was last looked at.
    pub(super) looked: BTreeMap<ProjectId, Timestamp>,
    /// Who watches the followed logs of which only so many receipts may wait.
    pub(super) watches: BTreeMap<ProjectId, Worker>,
    /// The followed logs whose watch has ended.
    pub(super) grown: BTreeSet<ProjectId>,
    /// Whether an effect is under way: one at a time, so that each is stored before the next.
    pub(super) is_busy: bool,
    /// When the endpoints were last asked for their newest blocks; nothing while they are being asked.
    pub(super) endpoints_seen: Option<Timestamp>,
    pub(super) timer: Option<Worker>,
    /// The project whose orders were taken last: the next one's turn is next.
    pub(super) taken_last: Option<ProjectId>,
    last_end: Option<String>,
    /// While it is paused nothing new is signed or sent; what was sent is followed to its end.
    pub(super) paused: Option<Pause>,
    /// What metrics say of the outbox.
    shown: ShownOutbox,
}

/// Somebody who waits until a log is on the chain.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) project: ProjectId,
    pub(super) size: u64,
    pub(super) reply: Reply<ChainResponse>,
}

impl Entity for ChainActor {
    const KIND: &'static str = "chain";
    const RESIDENT: bool = true;
    const IDEMPOTENT: bool = true;
    type Environment = ChainEnvironment;
    type Request = ChainRequest;
    type Response = ChainResponse;
    type Event = ChainEvent;

    async fn activate(id: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        let environment = context.environment();
        let settings = environment.chains.get(id.as_str()).cloned();
        let settings = settings.ok_or_else(|| Fault::corrupt(format!("this node has no chain {id}")))?;
        let id = settings.chain.id().clone();
        let (stored, rows) = Stored::load(&*environment.store, &id).await?;
        let now = context.clock().now();
        let desk = Desk::new(stored, settings.outbox.clone(), settings.contract(), now);
        let mut chain = Self {
            id,
            breaker: Breaker::new(settings.breaker.clone()),
            shown: ShownOutbox::new(settings.outbox_gauge.clone()),
            settings,
            desk,
            rows,
            waiters: Vec::new(),
            deployment_waiters: Vec::new(),
            looked: BTreeMap::new(),
            watches: BTreeMap::new(),
            grown: BTreeSet::new(),
            is_busy: false,
            endpoints_seen: Some(Timestamp::EPOCH),
            timer: None,
            taken_last: None,
            last_end: None,
            paused: None,
        };
        let owed = orders::owed(&*context.environment().store, chain.id.as_str()).await?;
        tell_sessions(&context, &chain.id, owed);
        chain.tend_endpoints(&context);
        chain.advance(&context).await?;
        Ok(chain)
    }

    async fn handle(
        &mut self,
        request: ChainRequest,
        reply: Reply<ChainResponse>,
        context: &Context<Self>,
    ) -> Result<(), Fault> {
        match request {
            ChainRequest::Wake => {
                self.advance(context).await?;
                reply.send(ChainResponse::Done);
            }
            ChainRequest::Status => reply.send(ChainResponse::Status(Box::new(self.status()))),
            ChainRequest::Outbox => reply.send(ChainResponse::Outbox(Box::new(self.outbox()))),
            ChainRequest::Wallet => self.wallet(reply, context),
            ChainRequest::Anchor(project) => self.anchor(project, reply, context).await?,
            ChainRequest::Follow(project, follow) => {
                self.follow(project, follow);
                self.advance(context).await?;
                reply.send(ChainResponse::Done);
            }
            ChainRequest::Deploy { contract, arguments } => self.deploy(contract, arguments, reply, context).await?,
            ChainRequest::Deployments => reply.send(ChainResponse::Deployments(self.deployments())),
            ChainRequest::Pending(project) => reply.send(ChainResponse::Pending(self.pending(&project))),
        }
        Ok(())
    }

    async fn on_event(&mut self, event: ChainEvent, context: &Context<Self>) -> Result<(), Fault> {
        match event {
            ChainEvent::Carried(carried) => {
                self.is_busy = false;
                self.take_in(*carried, context.clock().now())?;
            }
            ChainEvent::Looked => self.endpoints_seen = Some(context.clock().now()),
            ChainEvent::Tended => {
                self.tend_endpoints(context);
                return Ok(());
            }
            ChainEvent::Grown(project) => self.has_grown(project),
            ChainEvent::Woken => {}
            ChainEvent::Told => return Ok(()),
        }
        self.advance(context).await
    }

    fn observe(&self) -> serde_json::Value {
        let head = self.desk.outbox.head();
        let intents: Vec<_> =
            self.desk.outbox.intents().values().take(OBSERVED_INTENTS_MAX).map(observe_intent).collect();
        json!({
            "chain": self.id.as_str(),
            "account": self.settings.chain.account(),
            "signer": self.settings.signer,
            "contract": self.desk.contract,
            "paused": self.paused.as_ref().map(Pause::to_string),
            "breaker": self.breaker.state(),
            "last_failure": self.breaker.last_failure(),
            "stall": head.stall,
            "latest_sequence": head.latest_sequence,
            "final_sequence": head.final_sequence,
            "unfinished_intents": self.desk.outbox.intents().len(),
            "intents": intents,
            "wanted": self.desk.wanted.keys().map(ProjectId::as_str).collect::<Vec<_>>(),
            "orders": self.desk.orders.len(),
            "followed_logs": self.desk.follows.len(),
            "waiting": self.waiters.len(),
            "last_end": self.last_end,
            "endpoints": self.endpoints(),
        })
    }

    fn is_idle(&self) -> bool {
        // It is resident, so this only lets a drain go on between two effects.
        !self.is_busy
    }
}

impl ChainActor {
    /// Brings everything forward: outcomes, wishes, the store, and then the next effect.
    pub(super) async fn advance(&mut self, context: &Context<Self>) -> Result<(), Fault> {
        let now = context.clock().now();
        self.heed_operators(context).await?;
        if self.paused.is_some() || self.desk.outbox.head().stall.is_some() || !self.breaker.is_closed() {
            self.desk.running_since = now;
        }
        let ends = self.desk.conclude(&self.id, self.settings.chain.account(), now).map_err(bug)?;
        self.look_at_followed(context, now).await?;
        let mut taken = Vec::new();
        if self.paused.is_none() {
            self.submit_wanted(context, now, &ends).await?;
            taken = self.take_orders(context, now).await?;
        }
        let waiting = self.commit(context, &ends, taken, now).await?;
        tell_sessions(context, &self.id, waiting);
        for end in ends {
            self.tell_waiters(&end);
        }
        self.shown.show(&self.desk.outbox);
        self.watch_followed(context).await?;
        self.drive(context);
        Ok(())
    }

    /// Stores what changed, and with it the anchors that became final, the orders that were taken, and those that ended,
    /// in one transaction under the lease. Returns the steps of sessions that waited for what ended.
    async fn commit(
        &mut self,
        context: &Context<Self>,
        ends: &[End],
        taken: Vec<Vec<u8>>,
        now: Timestamp,
    ) -> Result<Vec<WaitingStep>, Fault> {
        let rows = self.desk.stored().rows(&self.id)?;
        if rows == self.rows && ends.is_empty() && taken.is_empty() {
            return Ok(Vec::new());
        }
        let (rows, old, ends) = (Arc::new(rows), Arc::new(std::mem::take(&mut self.rows)), Arc::new(ends.to_vec()));
        let (taken, chain) = (Arc::new(taken), &self.id);
        let waiting = context
            .fence()
            .run(&*context.environment().store, |txn| {
                let (rows, old, ends) = (Arc::clone(&rows), Arc::clone(&old), Arc::clone(&ends));
                let taken = Arc::clone(&taken);
                async move {
                    for (key, value) in rows.iter().filter(|(key, value)| old.get(*key) != Some(*value)) {
                        txn.set(key, value)?;
                    }
                    for key in old.keys().filter(|key| !rows.contains_key(*key)) {
                        txn.clear(key)?;
                    }
                    taken.iter().try_for_each(|row| orders::take_out(&txn, row))?;
                    let mut waiting = Vec::new();
                    for end in ends.iter() {
                        match end {
                            End::Anchored { project, root } => receipt_log::record_anchor(&txn, project, root)?,
                            End::Ordered(ended) => {
                                waiting.extend(orders::settle(&txn, chain.as_str(), ended, now).await?);
                            }
                            End::Deployed { .. } | End::Refused { .. } => {}
                        }
                    }
                    Ok::<_, SettleError>(waiting)
                }
            })
            .await?;
        self.rows = Arc::unwrap_or_clone(rows);
        Ok(waiting)
    }

    fn tell_waiters(&mut self, end: &End) {
        let (of, response) = match end {
            End::Anchored { project, root } => {
                metrics::counter!("steward_anchors_total").increment(1);
                self.last_end = Some(format!("{project}: {} leaves in block {}", root.size, root.anchor.block));
                (Some((project, root.size)), ChainResponse::Anchored(root.clone()))
            }
            End::Ordered(ended) => {
                self.last_end = Some(ordered_in_words(ended));
                return;
            }
            End::Deployed { key, end } => {
                self.last_end = Some(match end {
                    Ok(_) => format!("{key}: final"),
                    Err(reason) => format!("{key}: {reason}"),
                });
                self.tell_deployed(key, end);
                return;
            }
            End::Refused { project, reason } => {
                tracing::error!(chain = %self.id, %reason, "the chain refused an anchor");
                self.last_end = Some(reason.clone());
                let refused = ChainResponse::Refused(ErrorCode::ChainRejected, reason.clone());
                (project.as_ref().map(|project| (project, u64::MAX)), refused)
            }
        };
        let concerns =
            |waiter: &mut Waiter| of.is_none_or(|(project, size)| waiter.project == *project && waiter.size <= size);
        for waiter in self.waiters.extract_if(.., concerns) {
            waiter.reply.send(response.clone());
        }
    }
}

fn observe_intent(intent: &Intent) -> serde_json::Value {
    json!({
        "key": intent.key,
        "submitted": intent.submitted.to_string(),
        "sequence": intent.sequence(),
        "transactions": intent.attempts.iter().map(|attempt| attempt.transaction.hash.as_str()).collect::<Vec<_>>(),
        "block": intent.landing.as_ref().map(|landing| landing.inclusion.block),
        "displaced": intent.displaced,
        "expired": intent.expired,
        "last_error": intent.last_error,
    })
}

/// The outbox refused an event of its own making.
pub(super) fn bug(error: OutboxError) -> Fault {
    Fault::transient(error)
}
