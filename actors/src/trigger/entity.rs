//! The entity of a trigger: looks at the chain, stores what it decides, starts sessions, and looks again.

mod progress;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use steward_storage::StoreExt;
use steward_types::limits::{CHAIN_TICK_MIN, TRIGGER_POLL_TIME, TRIGGER_REASON_CHARS_MAX, TRIGGER_RETRY_TIME_MAX};
use steward_types::{ErrorCode, Timestamp};

use super::TriggerEnvironment;
use super::feed::{Feed, Start};
use super::looking::look;
use super::messages::{Said, TriggerEvent, TriggerRequest, TriggerResponse};
use super::record::{self, Resume, SkippedEvent, TriggerName, TriggerSpec, TriggerState};
use super::starting::start;
use super::status::{TriggerCondition, TriggerStatus};
use crate::host::{Context, Entity, EntityId, Fault, Reply, Worker};
use crate::lease::LeaseError;

/// One trigger of one agent.
#[derive(Debug)]
pub struct TriggerActor {
    pub(super) name: TriggerName,
    /// What the agent says of it; nothing when it has no such trigger.
    pub(super) spec: Option<TriggerSpec>,
    /// Nothing for a trigger that never was.
    pub(super) feed: Option<Feed>,
    pub(super) seen: Seen,
    /// Why no session is started now; empty when nothing hinders that.
    pub(super) reason: String,
    pub(super) last_error: String,
    /// Whether a worker is under way: one at a time, so that what it said is stored before the next begins.
    is_busy: bool,
    /// Whether what the worker under way looks for has changed meanwhile: what it sees is out of date.
    is_stale: bool,
    timer: Option<Worker>,
}

/// What is known since the entity came into memory.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The chain's newest final block.
    pub(super) final_block: Option<u64>,
    /// When the chain was last asked whether it is the same.
    pub(super) same_chain: Option<Timestamp>,
    /// When the state was last stored.
    pub(super) saved: Option<Timestamp>,
    /// Failures in a row.
    pub(super) failures: u32,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Look again after a while.
    LookAfter(Duration),
    /// Start these sessions, whose ids are stored.
    Start(Vec<Start>),
    /// Nothing, until somebody speaks to it.
    Rest,
}

impl Entity for TriggerActor {
    const KIND: &'static str = "trigger";
    const RESIDENT: bool = true;
    const IDEMPOTENT: bool = true;
    type Environment = TriggerEnvironment;
    type Request = TriggerRequest;
    type Response = TriggerResponse;
    type Event = TriggerEvent;

    async fn activate(id: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        let name: TriggerName = id.as_str().parse().map_err(Fault::poison)?;
        let (spec_row, state_row) = (&name.spec_row(), &name.state_row());
        let rows = context.environment().store.run(|txn| async move {
            let spec = txn.load_snapshot::<TriggerSpec>(spec_row).await?;
            Ok::<_, steward_storage::StoreError>((spec, txn.load_snapshot::<TriggerState>(state_row).await?))
        });
        let (spec, state) = rows.await?;
        let chains = &context.environment().chains;
        let (spec, state) = (spec.map(|spec| spec.canonical(chains)), state.map(|state| state.canonical(chains)));
        let state = state.or_else(|| spec.as_ref().map(TriggerState::new));
        let feed = state.map(Feed::new);
        let (reason, last_error) = (String::new(), String::new());
        let mut trigger = Self {
            name,
            spec,
            feed,
            seen: Seen::default(),
            reason,
            last_error,
            is_busy: false,
            is_stale: false,
            timer: None,
        };
        trigger.look(&context);
        Ok(trigger)
    }

    async fn handle(
        &mut self,
        request: TriggerRequest,
        reply: Reply<TriggerResponse>,
        context: &Context<Self>,
    ) -> Result<(), Fault> {
        match request {
            TriggerRequest::Wake => {
                let before = self.spec.clone();
                self.read_spec(context).await?;
                self.is_stale |= self.spec != before;
                self.look(context);
                reply.send(TriggerResponse::Done);
            }
            TriggerRequest::Status => reply.send(TriggerResponse::Status(Box::new(self.status()))),
            TriggerRequest::Resume(resume) => {
                let response = self.resume(resume, context).await?;
                reply.send(response);
            }
        }
        Ok(())
    }

    async fn on_event(&mut self, TriggerEvent(said): TriggerEvent, context: &Context<Self>) -> Result<(), Fault> {
        match said {
            Said::Woken => self.look(context),
            Said::Failed(error) => return Err(error.into()),
            Said::Looked(_) if self.is_stale => {
                self.is_busy = false;
                self.look(context);
            }
            Said::Looked(look) => {
                let next = self.looked(*look, context).await?;
                self.go_on(next, context);
            }
            Said::Started(outcomes) => {
                let next = self.started(outcomes, context).await?;
                self.go_on(next, context);
            }
        }
        Ok(())
    }

    fn observe(&self) -> serde_json::Value {
        let status = self.status();
        json!({
            "chain": self.spec.as_ref().map(|spec| &spec.chain),
            "address": self.spec.as_ref().map(|spec| &spec.filter.address),
            "event": self.spec.as_ref().map(|spec| &spec.filter.event),
            "condition": status.condition,
            "reason": status.reason,
            "last_error": status.last_error,
            "checkpoint": status.checkpoint,
            "final_block": status.final_block,
            "lag_blocks": status.lag_blocks(),
            "started": status.started,
            "skipped": status.skipped,
            "open": status.open,
            "assigned": self.feed.as_ref().map(|feed| feed.state.assigned.len()),
        })
    }

    fn is_idle(&self) -> bool {
        // It is resident, so this only lets a drain go on between two workers.
        !self.is_busy
    }
}

impl TriggerActor {
    /// Begins a look, unless a worker is under way or there is nothing to look for.
    fn look(&mut self, context: &Context<Self>) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
        let now = context.clock().now();
        let Some(question) = self.question(now).filter(|_| !self.is_busy) else { return };
        (self.is_busy, self.is_stale) = (true, false);
        let environment = context.environment().clone();
        context.work(async move {
            match look(&environment, question, now).await {
                Ok(look) => TriggerEvent(Said::Looked(Box::new(look))),
                Err(error) => TriggerEvent(Said::Failed(error)),
            }
        });
    }

    fn go_on(&mut self, next: Next, context: &Context<Self>) {
        self.is_busy = false;
        match next {
            Next::Start(starts) => {
                let (host, name) = (context.host().clone(), self.name.clone());
                let Some(feed) = &self.feed else { return };
                let (chain, address) = (feed.state.chain.clone(), feed.state.filter.address.clone());
                self.is_busy = true;
                context.work(async move {
                    TriggerEvent(Said::Started(start(&host, &name, (&chain, &address), starts).await))
                });
            }
            Next::LookAfter(wait) => {
                let clock = Arc::clone(context.clock());
                self.timer = Some(context.work(async move {
                    clock.sleep(wait.max(CHAIN_TICK_MIN)).await;
                    TriggerEvent(Said::Woken)
                }));
            }
            Next::Rest => {}
        }
    }

    async fn read_spec(&mut self, context: &Context<Self>) -> Result<(), Fault> {
        let row = &self.name.spec_row();
        let store = &context.environment().store;
        let spec = store.run(|txn| async move { txn.load_snapshot::<TriggerSpec>(row).await }).await?;
        self.spec = spec.map(|spec| spec.canonical(&context.environment().chains));
        if self.feed.is_none() {
            self.feed = self.spec.as_ref().map(|spec| Feed::new(TriggerState::new(spec)));
        }
        Ok(())
    }

    /// Stores the state, and the events that were skipped with it, in one transaction under the lease.
    pub(super) async fn save(&mut self, skipped: &[SkippedEvent], context: &Context<Self>) -> Result<(), Fault> {
        let Some(feed) = &self.feed else { return Ok(()) };
        let (name, state) = (&self.name, &feed.state);
        let first = state.skipped - skipped.len() as u64 + 1;
        let fence = context.fence();
        let stored = fence.run(&*context.environment().store, |txn| async move {
            txn.save(&name.state_row(), state)?;
            for (number, event) in (first..).zip(skipped) {
                record::record_skipped(&txn, name, number, event)?;
            }
            Ok::<_, LeaseError>(())
        });
        stored.await?;
        self.seen.saved = Some(context.clock().now());
        Ok(())
    }

    async fn resume(&mut self, resume: Resume, context: &Context<Self>) -> Result<TriggerResponse, Fault> {
        let may_go_on = |feed: &&mut Feed| feed.state.stopped.is_some() || matches!(resume, Resume::At(_));
        let Some(feed) = self.feed.as_mut().filter(may_go_on) else {
            let message = format!("the trigger {} has not stopped; say where it shall go on to move it", self.name);
            return Ok(TriggerResponse::Refused(ErrorCode::InvalidRequest, message));
        };
        feed.state.stopped = None;
        feed.state.resume = Some(resume);
        self.is_stale = true;
        self.save(&[], context).await?;
        self.look(context);
        Ok(TriggerResponse::Done)
    }

    /// What went wrong, and how long to wait for the next try.
    pub(super) fn failed(&mut self, reason: String) -> Next {
        self.reason = reason.chars().take(TRIGGER_REASON_CHARS_MAX).collect();
        if self.seen.failures == 0 {
            tracing::warn!(trigger = %self.name, reason = %self.reason, "a trigger has to wait");
        }
        self.last_error = self.reason.clone();
        let wait = TRIGGER_POLL_TIME.saturating_mul(1 << self.seen.failures.min(10)).min(TRIGGER_RETRY_TIME_MAX);
        self.seen.failures += 1;
        Next::LookAfter(wait)
    }

    fn status(&self) -> TriggerStatus {
        let state = self.feed.as_ref().map(|feed| &feed.state);
        let stopped = state.and_then(|state| state.stopped.clone());
        let condition = match &stopped {
            Some(_) => TriggerCondition::Stopped,
            None if self.reason.is_empty() => TriggerCondition::Following,
            None => TriggerCondition::Waiting,
        };
        TriggerStatus {
            condition,
            reason: stopped.unwrap_or_else(|| self.reason.clone()),
            last_error: self.last_error.clone(),
            checkpoint: state.and_then(|state| state.cursor).map(|cursor| cursor.block),
            final_block: self.seen.final_block,
            started: state.map_or(0, |state| state.started),
            skipped: state.map_or(0, |state| state.skipped),
            open: state.map_or(0, |state| state.open.len() as u64),
        }
    }
}
