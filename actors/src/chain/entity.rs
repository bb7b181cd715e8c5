//! The entity of a chain: binds the desk to the store, the chain and those who wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use steward_adapters::breaker::{Admission, Breaker, BreakerPolicy, Forced};
use steward_adapters::chain::{Chain, ChainId};
use steward_adapters::courier::{Carried, carry_out};
use steward_adapters::fee::FeePolicy;
use steward_adapters::outbox::{Intent, OutboxError, OutboxPolicy};
use steward_receipts::Hash;
use steward_storage::{Store, StoreExt};
use steward_types::limits::{ANCHOR_INTERVAL_MIN, CHAIN_PAUSED_TIME, CHAIN_TICK_MIN};
use steward_types::{ErrorCode, ProjectId, Timestamp};

use super::desk::{Desk, End};
use super::records::{AnchorWish, Rows, Stored};
use super::status::ChainStatus;
use crate::host::{Context, Entity, EntityId, Fault, Reply, Worker};
use crate::lease::LeaseError;
use crate::pause::Pause;
use crate::receipt_log::{self, AnchoredRoot, LogIdentity};

/// Most intents that a snapshot shows.
const OBSERVED_INTENTS_MAX: usize = 20;

/// What the node gives its chains.
#[derive(Debug, Clone)]
pub struct ChainEnvironment {
    /// Where logs and outboxes lie.
    pub store: Arc<dyn Store>,
    /// Who signs the logs, which tells their names.
    pub identity: Arc<LogIdentity>,
    /// The chains by CAIP-2 identifier, which is also their entity's id.
    pub chains: Arc<BTreeMap<String, ChainSettings>>,
}

/// One chain and how it is used.
#[derive(Debug, Clone)]
pub struct ChainSettings {
    /// The driver with its account.
    pub chain: Arc<dyn Chain>,
    /// The contract's address; without it the first anchor deploys one, where the chain needs one.
    pub contract: Option<String>,
    /// What may be paid.
    pub fees: FeePolicy,
    /// When to ask again and when to replace.
    pub outbox: OutboxPolicy,
    /// When to leave the chain alone.
    pub breaker: BreakerPolicy,
}

impl ChainSettings {
    /// A chain with the default policies, which deploys its contract.
    pub fn new(chain: Arc<dyn Chain>) -> Self {
        Self {
            chain,
            contract: None,
            fees: FeePolicy::default(),
            outbox: OutboxPolicy::default(),
            breaker: BreakerPolicy::default(),
        }
    }

    /// The contract that is known beforehand; the empty one where the chain needs none.
    fn contract(&self) -> Option<String> {
        if self.chain.needs_contract() { self.contract.clone() } else { Some(String::new()) }
    }
}

/// How often a log is anchored by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// How long receipts may wait, in milliseconds; at least a second.
    pub interval_ms: u64,
}

/// What can be asked of a chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ChainRequest {
    /// Be there, and look at what there is to do: the chain then finishes what is in its outbox, and follows its logs.
    Wake,
    /// How the chain is.
    Status,
    /// Anchor the project's log as it is now, once; answered when that is final. The wish outlives the asker.
    Anchor(ProjectId),
    /// Anchor the project's log by itself from now on, or no longer.
    Follow(ProjectId, Option<Follow>),
    /// The project's roots that are on their way.
    Pending(ProjectId),
    /// Set the breaker by hand, or give it back to itself.
    Force(Option<Forced>),
}

/// What a chain answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ChainResponse {
    /// It is done.
    Done,
    /// This root, which covers what was asked for, is on the chain for good.
    Anchored(Box<AnchoredRoot>),
    /// What is on its way.
    Pending(Vec<PendingAnchor>),
    /// How it is.
    Status(Box<ChainStatus>),
    /// It cannot be done now.
    Refused(ErrorCode, String),
}

/// A root on its way to the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingAnchor {
    /// How many leaves the log has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// `recorded`, `sent` or `included`.
    pub state: String,
    /// The newest transaction's hash; empty until it is signed.
    pub transaction: String,
    /// The block that has it; 0 for none yet.
    pub block: u64,
    /// The contract's address.
    pub contract: String,
    /// When it was recorded.
    pub recorded: Timestamp,
}

/// What the chain's workers say.
#[derive(Debug)]
pub enum ChainEvent {
    /// An effect was carried out, or not.
    Carried(Carried),
    /// It is time to look again.
    Woken,
}

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
    /// When each followed log was last looked at.
    looked: BTreeMap<ProjectId, Timestamp>,
    /// Whether an effect is under way: one at a time, so that each is stored before the next.
    is_busy: bool,
    timer: Option<Worker>,
    last_end: Option<String>,
    /// While it is paused nothing new is signed or sent; what was sent is followed to its end.
    pub(super) paused: Option<Pause>,
}

/// Somebody who waits until a log is on the chain.
#[derive(Debug)]
pub(super) struct Waiter {
    project: ProjectId,
    size: u64,
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
        let desk = Desk::new(stored, settings.outbox.clone(), settings.contract());
        let mut chain = Self {
            id,
            breaker: Breaker::new(settings.breaker.clone()),
            settings,
            desk,
            rows,
            waiters: Vec::new(),
            looked: BTreeMap::new(),
            is_busy: false,
            timer: None,
            last_end: None,
            paused: None,
        };
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
            ChainRequest::Anchor(project) => self.anchor(project, reply, context).await?,
            ChainRequest::Follow(project, follow) => {
                self.follow(project, follow);
                self.advance(context).await?;
                reply.send(ChainResponse::Done);
            }
            ChainRequest::Pending(project) => reply.send(ChainResponse::Pending(self.pending(&project))),
            ChainRequest::Force(forced) => {
                self.breaker.force(forced);
                self.drive(context);
                reply.send(ChainResponse::Done);
            }
        }
        Ok(())
    }

    async fn on_event(&mut self, event: ChainEvent, context: &Context<Self>) -> Result<(), Fault> {
        if let ChainEvent::Carried(carried) = event {
            self.is_busy = false;
            self.take_in(carried, context.clock().now())?;
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
            "contract": self.desk.contract,
            "paused": self.paused.as_ref().map(Pause::to_string),
            "breaker": self.breaker.state(),
            "last_failure": self.breaker.last_failure(),
            "stalled": head.stalled,
            "latest_sequence": head.latest_sequence,
            "final_sequence": head.final_sequence,
            "unfinished_intents": self.desk.outbox.intents().len(),
            "intents": intents,
            "wanted": self.desk.wanted.keys().map(ProjectId::as_str).collect::<Vec<_>>(),
            "followed_logs": self.desk.follows.len(),
            "waiting": self.waiters.len(),
            "last_end": self.last_end,
        })
    }

    fn is_idle(&self) -> bool {
        // It is resident, so this only lets a drain go on between two effects.
        !self.is_busy
    }
}

impl ChainActor {
    async fn anchor(
        &mut self,
        project: ProjectId,
        reply: Reply<ChainResponse>,
        context: &Context<Self>,
    ) -> Result<(), Fault> {
        let store = &*context.environment().store;
        let Some(head) = receipt_log::head(store, &project).await? else {
            let message = format!("the log of {project} has no receipt yet");
            reply.send(ChainResponse::Refused(ErrorCode::ReceiptPending, message));
            return Ok(());
        };
        let newest = receipt_log::newest_anchor_on(store, &project, self.id.as_str()).await?;
        if let Some(anchored) = newest.filter(|anchored| anchored.size >= head.size()) {
            reply.send(ChainResponse::Anchored(Box::new(anchored)));
            return Ok(());
        }
        let in_hand = self.desk.in_hand().any(|(wish, _)| wish.project == project && wish.size >= head.size());
        if !in_hand {
            self.desk.want(project.clone(), context.clock().now());
        }
        self.waiters.retain(|waiter| waiter.reply.is_wanted());
        self.waiters.push(Waiter { project, size: head.size(), reply });
        self.advance(context).await
    }

    fn follow(&mut self, project: ProjectId, follow: Option<Follow>) {
        self.looked.remove(&project);
        match follow {
            Some(follow) => self.desk.follows.insert(project, follow),
            None => self.desk.follows.remove(&project),
        };
    }

    fn pending(&self, project: &ProjectId) -> Vec<PendingAnchor> {
        let of_project = self.desk.in_hand().filter(|(wish, _)| wish.project == *project);
        of_project.map(|(wish, intent)| self.pending_anchor(wish, intent)).collect()
    }

    fn pending_anchor(&self, wish: &AnchorWish, intent: &Intent) -> PendingAnchor {
        let newest = intent.attempts.last();
        let state = match (&intent.landing, newest) {
            (Some(_), _) => "included",
            (None, Some(attempt)) if attempt.sent => "sent",
            _ => "recorded",
        };
        PendingAnchor {
            size: wish.size,
            root: wish.root,
            state: state.to_owned(),
            transaction: newest.map(|attempt| attempt.transaction.hash.clone()).unwrap_or_default(),
            block: intent.landing.as_ref().map_or(0, |landing| landing.inclusion.block),
            contract: self.desk.contract.clone().unwrap_or_default(),
            recorded: wish.recorded,
        }
    }

    /// Takes in how an effect went. Nothing is stored yet.
    fn take_in(&mut self, carried: Carried, now: Timestamp) -> Result<(), Fault> {
        let Carried { event, failure } = carried;
        match &failure {
            // What taught us nothing must not be repeated at once, whoever is at fault.
            Some(failure) if failure.is_endpoint_failure() || event.is_none() => {
                let reason = failure.in_full();
                tracing::warn!(chain = %self.id, %reason, "a chain did not answer as it should");
                self.breaker.failed(now, &reason);
            }
            _ => self.breaker.succeeded(),
        }
        let Some(event) = event else { return Ok(()) };
        self.desk.outbox.apply(event, now, &self.desk.policy).map_err(bug)
    }

    /// Brings everything forward: outcomes, wishes, the store, and then the next effect.
    async fn advance(&mut self, context: &Context<Self>) -> Result<(), Fault> {
        let now = context.clock().now();
        self.paused = self.pause(context).await?;
        let ends = self.desk.conclude(&self.id, now).map_err(bug)?;
        self.look_at_followed(context, now).await?;
        if self.paused.is_none() {
            self.submit_wanted(context, now, &ends).await?;
        }
        self.commit(context, &ends).await?;
        for end in ends {
            self.tell_waiters(&end);
        }
        self.drive(context);
        Ok(())
    }

    /// Wants the followed logs that are due and have grown.
    async fn look_at_followed(&mut self, context: &Context<Self>, now: Timestamp) -> Result<(), Fault> {
        let store = &*context.environment().store;
        let due: Vec<ProjectId> =
            self.desk.follows.keys().filter(|project| self.due_at(project) <= now).cloned().collect();
        for project in due {
            let size = receipt_log::head(store, &project).await?.map_or(0, |head| head.size());
            let anchored = receipt_log::newest_anchor_on(store, &project, self.id.as_str()).await?;
            if size > anchored.map_or(0, |anchored| anchored.size) {
                self.desk.want(project.clone(), now);
            }
            self.looked.insert(project, now);
        }
        Ok(())
    }

    fn due_at(&self, project: &ProjectId) -> Timestamp {
        let interval = self
            .desk
            .follows
            .get(project)
            .map_or(Duration::MAX, |follow| Duration::from_millis(follow.interval_ms).max(ANCHOR_INTERVAL_MIN));
        self.looked.get(project).map_or(Timestamp::EPOCH, |looked| looked.saturating_add(interval))
    }

    /// Makes intents of what is wanted, each of the log as it is now.
    async fn submit_wanted(&mut self, context: &Context<Self>, now: Timestamp, ends: &[End]) -> Result<(), Fault> {
        let environment = context.environment();
        for project in self.desk.ready(now).map_err(bug)? {
            let head = receipt_log::head(&*environment.store, &project).await?;
            let anchored = receipt_log::newest_anchor_on(&*environment.store, &project, self.id.as_str()).await?;
            // What ends now is not recorded yet.
            let ending = ends.iter().filter_map(|end| match end {
                End::Anchored { project: of, root } if *of == project => Some(root.size),
                _ => None,
            });
            let anchored = ending.chain(anchored.map(|anchored| anchored.size)).max().unwrap_or(0);
            let Some(head) = head.filter(|head| head.size() > anchored) else {
                self.desk.wanted.remove(&project);
                continue;
            };
            let log_id = steward_receipts::log_id(&environment.identity.log_origin(&project));
            let (size, root, checkpoint) = (head.size(), head.root(), head.checkpoint);
            let wish = AnchorWish { project, size, root, checkpoint, recorded: now };
            self.desk.submit(wish, log_id, now).map_err(bug)?;
        }
        Ok(())
    }

    /// Stores what changed, and the anchors that became final with it, in one transaction under the lease.
    async fn commit(&mut self, context: &Context<Self>, ends: &[End]) -> Result<(), Fault> {
        let rows = self.desk.stored().rows(&self.id)?;
        if rows == self.rows && ends.is_empty() {
            return Ok(());
        }
        let (rows, old, ends) = (Arc::new(rows), Arc::new(std::mem::take(&mut self.rows)), Arc::new(ends.to_vec()));
        let store = &context.environment().store;
        store
            .run(|txn| {
                let (rows, old, ends) = (Arc::clone(&rows), Arc::clone(&old), Arc::clone(&ends));
                let context = context.clone();
                async move {
                    context.lease().check(&txn, context.shard()).await?;
                    for (key, value) in rows.iter().filter(|(key, value)| old.get(*key) != Some(*value)) {
                        txn.set(key, value)?;
                    }
                    for key in old.keys().filter(|key| !rows.contains_key(*key)) {
                        txn.clear(key)?;
                    }
                    for end in ends.iter() {
                        if let End::Anchored { project, root } = end {
                            receipt_log::record_anchor(&txn, project, root)?;
                        }
                    }
                    Ok::<_, LeaseError>(())
                }
            })
            .await?;
        self.rows = Arc::unwrap_or_clone(rows);
        Ok(())
    }

    fn tell_waiters(&mut self, end: &End) {
        let (of, response) = match end {
            End::Anchored { project, root } => {
                metrics::counter!("steward_anchors_total").increment(1);
                self.last_end = Some(format!("{project}: {} leaves in block {}", root.size, root.anchor.block));
                (Some((project, root.size)), ChainResponse::Anchored(root.clone()))
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

    /// Begins the next effect, when there is one and none is under way; otherwise waits for its time.
    fn drive(&mut self, context: &Context<Self>) {
        if self.is_busy {
            return;
        }
        let now = context.clock().now();
        let mut wake_at = self.desk.follows.keys().map(|project| self.due_at(project)).min();
        if !self.desk.outbox.is_settled() {
            let mut effects = self.desk.outbox.next(now, &self.desk.policy).into_iter();
            match effects.find(|effect| self.may_do(effect)).map(|effect| (effect, self.breaker.admit(now))) {
                Some((effect, Admission::Admitted)) => {
                    let (chain, fees) = (Arc::clone(&self.settings.chain), self.settings.fees.clone());
                    context.work(async move { ChainEvent::Carried(carry_out(&*chain, &fees, effect).await) });
                    self.is_busy = true;
                    return;
                }
                Some((_, Admission::Refused { retry_at })) => {
                    self.refuse_waiters();
                    wake_at = wake_at.into_iter().chain([retry_at]).min();
                }
                None if self.paused.is_some() => {
                    wake_at = wake_at.into_iter().chain([now.saturating_add(CHAIN_PAUSED_TIME)]).min();
                }
                None => wake_at = wake_at.into_iter().chain(self.desk.outbox.wake_at(&self.desk.policy)).min(),
            }
        }
        self.refuse_while_paused();
        self.set_timer(wake_at, now, context);
    }

    /// Nobody waits for a chain that is down. What they asked for stays in the outbox.
    fn refuse_waiters(&mut self) {
        let reason = self.breaker.last_failure().unwrap_or("an operator opened its breaker");
        let message = format!("{}: {reason}; it is anchored when the chain is back", self.id);
        for waiter in self.waiters.drain(..) {
            waiter.reply.send(ChainResponse::Refused(ErrorCode::ChainUnavailable, message.clone()));
        }
    }

    fn set_timer(&mut self, wake_at: Option<Timestamp>, now: Timestamp, context: &Context<Self>) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
        let Some(wake_at) = wake_at else { return };
        let (clock, wait) = (Arc::clone(context.clock()), wake_at.saturating_since(now).max(CHAIN_TICK_MIN));
        self.timer = Some(context.work(async move {
            clock.sleep(wait).await;
            ChainEvent::Woken
        }));
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
fn bug(error: OutboxError) -> Fault {
    Fault::transient(error)
}
