//! The timer service: wakes sessions whose timers are due, and at a node's start those that have something to do.
//!
//! It decides nothing: a timer has fired once the session has committed so in its journal, so firing twice, late, or
//! from two nodes does no harm.
//!
//! When a node takes over many sessions at once, it wakes them in pages, and a page waits while the node has enough turns
//! in flight: memory and concurrency stay bounded however many there are.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use serde::{Deserialize, Serialize};
use serde_json::json;
use steward_storage::{RangeRead, Store, StoreError, StoreExt, Watch};
use steward_types::limits::{
    RECOVERY_PAGE_TIME, RECOVERY_SESSIONS_MAX, RECOVERY_STALL_TIME, RECOVERY_TIME, RECOVERY_TURNS_MAX,
    RESTART_BACKOFF_MIN, TIMER_OTHERS_TIME, TIMER_PAGE, TIMER_SLEEP_MAX,
};
use steward_types::{Clock, SessionId, Timestamp};
use tokio::sync::Notify;

use crate::activity::Activity;
use crate::host::{Context, Entity, EntityId, Fault, Host, Placement, Reply};
use crate::session::record::{Runnable, TimerRow};
use crate::session::{Session, SessionRequest, SessionResponse, key};

/// The service as an entity: one a node, started by [`Timers::start`], restarted like any other.
#[derive(Debug)]
pub struct Timers {
    /// Ends the wait before the next recovery.
    recover: Arc<Notify>,
}

/// What the timer service works with.
#[derive(Debug, Clone)]
pub struct TimersEnvironment {
    /// Where sessions and timers are.
    pub store: Arc<dyn Store>,
    /// How many turns the node has in flight.
    pub activity: Arc<Activity>,
}

/// What can be asked of the timer service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum TimersRequest {
    /// Be in memory, and so at work.
    Start,
    /// Look at once for what is in flight: shards have come to this node.
    Recover,
}

impl Timers {
    /// Starts the service on this host, which has registered it. It first recovers what was in flight.
    ///
    /// # Errors
    /// When the host can't take the message.
    pub fn start(host: &Host) -> Result<(), crate::host::AskError> {
        host.tell::<Self>(&EntityId::singleton(), TimersRequest::Start)
    }
}

impl Timers {
    /// Makes the service look for sessions of shards that have just come to this node.
    ///
    /// # Errors
    /// When the host can't take the message.
    pub fn recover(host: &Host) -> Result<(), crate::host::AskError> {
        host.tell::<Self>(&EntityId::singleton(), TimersRequest::Recover)
    }
}

impl Entity for Timers {
    const KIND: &'static str = "timers";
    const RESIDENT: bool = true;
    const PLACEMENT: Placement = Placement::Node;
    type Environment = TimersEnvironment;
    type Request = TimersRequest;
    type Response = ();
    type Event = StoreError;

    async fn activate(_id: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        let wake = Arc::new(Notify::new());
        let (recovering, firing, recover) = (Waker::of(&context), Waker::of(&context), Arc::clone(&wake));
        context.work(async move {
            loop {
                if let Err(error) = recovering.recover().await {
                    return error;
                }
                select(recovering.clock.sleep(RECOVERY_TIME), pin!(recover.notified())).await;
            }
        });
        context.work(async move {
            loop {
                if let Err(error) = firing.fire_due().await {
                    return error;
                }
            }
        });
        Ok(Self { recover: wake })
    }

    async fn handle(
        &mut self,
        request: TimersRequest,
        reply: Reply<()>,
        _context: &Context<Self>,
    ) -> Result<(), Fault> {
        if matches!(request, TimersRequest::Recover) {
            self.recover.notify_one();
        }
        reply.send(());
        Ok(())
    }

    async fn on_event(&mut self, error: StoreError, _context: &Context<Self>) -> Result<(), Fault> {
        Err(error.into())
    }

    fn observe(&self) -> serde_json::Value {
        json!({})
    }

    fn is_idle(&self) -> bool {
        // It is resident, so this only lets a drain go on: what it does is done in transactions of its own.
        true
    }
}

/// Wakes sessions of one node.
#[derive(Debug)]
pub(crate) struct Waker {
    host: Host,
    environment: TimersEnvironment,
    clock: Arc<dyn Clock>,
}

impl Waker {
    fn of(context: &Context<Timers>) -> Self {
        Self::new(context.host().clone(), context.environment().clone(), Arc::clone(context.clock()))
    }

    pub(crate) fn new(host: Host, environment: TimersEnvironment, clock: Arc<dyn Clock>) -> Self {
        Self { host, environment, clock }
    }

    /// Pokes every session of this node that has something to do, a page of [`RECOVERY_SESSIONS_MAX`] at once. Returns
    /// how many there were. One that can't be poked now is logged, and met again at the next recovery.
    ///
    /// # Errors
    /// The store's error. Dropping the future stops where it is.
    pub(crate) async fn recover(&self) -> Result<usize, StoreError> {
        let (mut count, mut rest) = (0, Some(RangeRead::prefix(&key::runnables()).snapshot()));
        while let Some(range) = rest.take() {
            let range = &range;
            let page =
                self.environment.store.run(|txn| async move { txn.scan::<Runnable>(range.clone()).await }).await?;
            let sessions = page.rows.into_iter().map(|(_, row)| row.session);
            let here: Vec<_> = sessions.filter(|session| self.serves(*session)).collect();
            count += here.len();
            for page in here.chunks(RECOVERY_SESSIONS_MAX) {
                self.pace().await;
                join_all(page.iter().map(|session| self.poke(*session))).await;
            }
            rest = page.rest;
        }
        Ok(count)
    }

    /// Waits while the node has enough turns in flight, as long as some of them end, though not for ever.
    async fn pace(&self) {
        let (activity, started) = (&self.environment.activity, self.clock.monotonic());
        loop {
            let ended = activity.count().turns_ended();
            let room = pin!(activity.room(RECOVERY_TURNS_MAX));
            let has_room = matches!(select(room, self.clock.sleep(RECOVERY_STALL_TIME)).await, Either::Left(_));
            let is_stalled = activity.count().turns_ended() == ended;
            if has_room || is_stalled || self.clock.monotonic().saturating_sub(started) >= RECOVERY_PAGE_TIME {
                return;
            }
        }
    }

    fn serves(&self, session: SessionId) -> bool {
        self.host.serves::<Session>(&EntityId::from(&session))
    }

    async fn poke(&self, session: SessionId) {
        let id = EntityId::from(&session);
        let deadline = self.host.deadline_default();
        let asked = self.host.ask_from_inside::<Session>(&id, SessionRequest::Poke, deadline);
        if let Err(error) = asked.await {
            tracing::warn!(%session, %error, "a session could not be recovered now");
        }
    }

    /// Fires what is due, then waits until something may be due again.
    async fn fire_due(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let Due { timers, others, next, changed } = self.due(now).await?;
        if !timers.is_empty() {
            let mut has_fired = false;
            for page in timers.chunks(RECOVERY_SESSIONS_MAX) {
                self.pace().await;
                let fired = join_all(page.iter().map(|(row, timer)| self.fire(row, timer))).await;
                has_fired |= fired.contains(&true);
            }
            if !has_fired {
                self.clock.sleep(RESTART_BACKOFF_MIN).await;
            }
            return Ok(());
        }
        // Others' timers are due: theirs to fire, but their shards may come here.
        let longest = if others { TIMER_OTHERS_TIME } else { TIMER_SLEEP_MAX };
        let wait = next.map_or(longest, |next| next.saturating_since(now)).min(longest);
        // A wait shorter than the clock's step would spin.
        let slept = self.clock.sleep(wait.max(Duration::from_millis(1)));
        match select(slept, changed).await {
            Either::Left(_) => Ok(()),
            Either::Right((changed, _)) => changed,
        }
    }

    async fn due(&self, now: Timestamp) -> Result<Due, StoreError> {
        self.environment
            .store
            .run(|txn| async move {
                let changed = txn.watch(&key::timers_set())?;
                let (begin, end) = key::timers_until(now);
                let (mut timers, mut others) = (Vec::new(), false);
                let mut rest = Some(RangeRead::new(begin, end).limit(TIMER_PAGE).snapshot());
                while timers.is_empty()
                    && let Some(range) = rest.take()
                {
                    let page = txn.scan::<TimerRow>(range).await?;
                    let (here, elsewhere): (Vec<_>, Vec<_>) =
                        page.rows.into_iter().partition(|(_, timer)| self.serves(timer.session));
                    timers.extend(here.into_iter().map(|(row, timer)| (row.to_vec(), timer)));
                    others |= !elsewhere.is_empty();
                    rest = page.rest;
                }
                let (_, last) = steward_storage::key::prefix_range(&key::timers());
                let (_, after) = key::timers_until(now);
                let later = txn.range(RangeRead::new(after, last).limit(1).snapshot()).await?;
                let next = later.rows.first().map(|(row, _)| key::timer_due(row)).transpose()?;
                Ok(Due { timers, others, next, changed })
            })
            .await
    }

    /// Tells a session that a timer is due; a timer that it does not know any more is removed. False when it must be
    /// tried again.
    async fn fire(&self, row: &[u8], timer: &TimerRow) -> bool {
        let session = timer.session;
        let request = SessionRequest::Fire { turn: timer.turn, step: timer.step.clone() };
        let id = EntityId::from(&session);
        let asked = self.host.ask_from_inside::<Session>(&id, request, self.host.deadline_default());
        match asked.await {
            Ok(SessionResponse::Refused(refusal)) => {
                tracing::debug!(%session, %refusal, "a timer that nothing waits for is removed");
                let removed = self.environment.store.run(|txn| async move { txn.clear(row) });
                removed.await.is_ok()
            }
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%session, %error, "a timer could not be fired; again soon");
                false
            }
        }
    }
}

/// What there is for the timer service.
struct Due {
    /// The first that are due of this node's sessions.
    timers: Vec<(Vec<u8>, TimerRow)>,
    /// Whether timers of other nodes' sessions are due before them.
    others: bool,
    /// When the first of the others is due.
    next: Option<Timestamp>,
    changed: Watch,
}
