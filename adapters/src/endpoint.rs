//! One endpoint of a chain: how well it serves, and whether it may be asked now. Pure: time is given, nothing is asked.
//!
//! It is left alone for four reasons, each with an end: an operator's order, wrong answers (punished), its own wish or
//! our limit (throttled), failures in a row (a breaker for each class of methods). One that is only behind is asked
//! last. The score puts the others in order; its parts are those of eRPC's and Envoy's outlier detection.

mod answer;
mod bucket;
mod meter;
mod policy;
mod probe;
mod retry_after;
mod status;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::{Timestamp, limits};

pub use self::answer::{AnswerBody, AnswerTooLong};
use self::bucket::Bucket;
pub(crate) use self::meter::Meter;
pub use self::meter::request_sent;
pub(crate) use self::policy::millis;
pub use self::policy::{Costs, EndpointPolicy};
pub use self::retry_after::retry_after;
pub use self::status::{Change, ClassStatus, EndpointStatus, Transition};
use self::window::{Ending, Window};
use crate::breaker::{Admission, Breaker, BreakerState, Forced};

/// Which methods a call uses: an endpoint may serve one class and not another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Questions about the present.
    Read,
    /// Handing over signed transactions.
    Broadcast,
    /// Searches in the past: logs, events, an account's transactions.
    History,
}

/// What is known of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    name: String,
    policy: EndpointPolicy,
    breakers: BTreeMap<Class, Breaker>,
    window: Window,
    bucket: Bucket,
    forced: Option<Forced>,
    throttled: Option<LeftAlone>,
    /// How often it throttled since it last served.
    throttles: u32,
    punished: Option<LeftAlone>,
    /// How often it was punished.
    punishments: u32,
    /// When the others contradicted it, within the window.
    wrong: VecDeque<Timestamp>,
    wrong_answers: u64,
    block: Option<u64>,
    lag: Lag,
    transitions: VecDeque<Transition>,
    /// How often each change happened, since the start.
    changes: BTreeMap<Change, u64>,
}

/// How far an endpoint is behind the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Blocks behind the newest.
    pub blocks: u64,
    /// Blocks behind the newest that counts as final.
    pub final_blocks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LeftAlone {
    until: Timestamp,
}

/// Why an endpoint is not asked, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When to try again.
    pub retry_at: Timestamp,
    /// Why not now.
    pub reason: RefusalReason,
}

/// Why an endpoint is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// An operator said so.
    Forced,
    /// It gave wrong answers.
    Punished,
    /// It asked for that.
    Throttled,
    /// Its compute units are spent.
    Spent,
    /// The class's breaker is open.
    Open,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Read, Self::Broadcast, Self::History];
}

impl Endpoint {
    /// An endpoint that nothing is known of. The name is shown to operators and must hold no secret.
    pub fn new(name: String, policy: EndpointPolicy, now: Timestamp) -> Self {
        let breaker = |class| (class, Breaker::new(policy.breaker.clone()));
        Self {
            name,
            breakers: Class::ALL.map(breaker).into(),
            window: Window::default(),
            bucket: Bucket::new(&policy, now),
            policy,
            forced: None,
            throttled: None,
            throttles: 0,
            punished: None,
            punishments: 0,
            wrong: VecDeque::new(),
            wrong_answers: 0,
            block: None,
            lag: Lag::default(),
            transitions: VecDeque::new(),
            changes: BTreeMap::new(),
        }
    }

    /// How often each change happened, since the start.
    pub const fn changes(&self) -> &BTreeMap<Change, u64> {
        &self.changes
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why it may not be asked now, if it may not. Changes nothing.
    pub fn refusal(&self, class: Class, now: Timestamp) -> Option<Refusal> {
        let because = |reason, retry_at| Some(Refusal { retry_at, reason });
        match self.forced {
            Some(Forced::Closed) => return None,
            Some(Forced::Open) => return because(RefusalReason::Forced, now.saturating_add(self.throttle_time())),
            None => {}
        }
        let until = |left_alone: Option<LeftAlone>| left_alone.map(|alone| alone.until).filter(|until| now < *until);
        if let Some(until) = until(self.punished) {
            return because(RefusalReason::Punished, until);
        }
        if let Some(until) = until(self.throttled) {
            return because(RefusalReason::Throttled, until);
        }
        if let Some(ready_at) = self.bucket.ready_at(self.policy.costs.of(class), &self.policy, now) {
            return because(RefusalReason::Spent, ready_at);
        }
        self.breakers[&class].refused_until(now).and_then(|until| because(RefusalReason::Open, until))
    }

    /// Asks whether a call may be made now. In the half-open state an admission is the probe. Who is admitted says how
    /// it ended.
    ///
    /// # Errors
    /// [`Refusal`] says why not, and when to try again.
    pub fn admit(&mut self, class: Class, now: Timestamp) -> Result<(), Refusal> {
        self.end_what_is_over(now);
        if let Some(refusal) = self.refusal(class, now) {
            return Err(refusal);
        }
        self.bucket.spend(self.policy.costs.of(class), &self.policy, now);
        if self.forced.is_none() {
            self.with_breaker(class, now, |breaker| {
                // It was asked above whether it admits, so this only takes the probe.
                let admission = breaker.admit(now);
                debug_assert_eq!(admission, Admission::Admitted);
                "its time is over".to_owned()
            });
        }
        Ok(())
    }

    /// A call has made so many requests. The first was paid for when it was admitted; the others are paid for now, and
    /// what is not there for them is owed.
    pub fn requested(&mut self, class: Class, requests: u32, now: Timestamp) {
        let more = requests.saturating_sub(1);
        self.bucket.owe(self.policy.costs.of(class).saturating_mul(more), &self.policy, now);
    }

    /// A call was answered, whatever the chain said.
    pub fn served(&mut self, class: Class, latency: Duration, now: Timestamp) {
        self.window.push(class, Ending::Served, latency, now);
        self.throttles = 0;
        self.with_breaker(class, now, |breaker| {
            breaker.succeeded();
            "it answers again".to_owned()
        });
    }

    /// A call failed for a reason that lies with the endpoint.
    pub fn failed(&mut self, class: Class, latency: Duration, reason: &str, now: Timestamp) {
        self.window.push(class, Ending::Failed, latency, now);
        self.with_breaker(class, now, |breaker| {
            breaker.failed(now, reason);
            reason.to_owned()
        });
    }

    /// It asks to be left alone.
    pub fn throttled(&mut self, class: Class, retry_after: Option<Duration>, reason: &str, now: Timestamp) {
        self.window.push(class, Ending::Throttled, Duration::ZERO, now);
        self.throttles = self.throttles.saturating_add(1);
        let longest = Duration::from_millis(self.policy.throttled_ms_max);
        let until = now.saturating_add(retry_after.unwrap_or_else(|| self.throttle_time()).min(longest));
        let later = self.throttled.map_or(until, |throttled| throttled.until.max(until));
        if self.throttled.replace(LeftAlone { until: later }).is_none() {
            self.changed(Change::Throttled, format!("{reason}; until {later}"), now);
        }
    }

    /// It was no longer waited for: another had answered, or the time was over. One that takes much longer than it is
    /// used to counts as failed; otherwise it was only slow.
    pub fn overtaken(&mut self, class: Class, waited: Duration, now: Timestamp) {
        let usual = self.window.latency(class, 70, now);
        if usual.is_some_and(|usual| waited < usual.saturating_mul(limits::ENDPOINT_HANGS_MULTIPLE)) {
            self.window.push(class, Ending::Served, waited, now);
        } else {
            let reason = format!("no answer after {} ms, when it was no longer waited for", waited.as_millis());
            self.failed(class, waited, &reason, now);
        }
    }

    /// It said which block is its newest.
    pub const fn saw_block(&mut self, block: u64) {
        self.block = Some(block);
    }

    /// How far it is behind the others, who know.
    pub fn set_lag(&mut self, lag: Lag, now: Timestamp) {
        let was_lagging = self.is_lagging();
        self.lag = lag;
        if self.is_lagging() != was_lagging {
            let change = if was_lagging { Change::CaughtUp } else { Change::Lagging };
            self.changed(change, format!("{} blocks behind, {} final ones", lag.blocks, lag.final_blocks), now);
        }
    }

    /// Whether it is further behind than it may be.
    pub const fn is_lagging(&self) -> bool {
        self.lag.blocks > self.policy.lag_blocks_max || self.lag.final_blocks > self.policy.lag_blocks_max
    }

    /// The others agreed that it gave a wrong answer.
    pub fn contradicted(&mut self, what: &str, now: Timestamp) {
        self.wrong_answers = self.wrong_answers.saturating_add(1);
        self.changed(Change::Contradicted, what.to_owned(), now);
        self.wrong.push_back(now);
        let remembered = Duration::from_millis(self.policy.wrong_window_ms);
        self.wrong.retain(|wrong| now.saturating_since(*wrong) <= remembered);
        let is_too_often = self.wrong.len() >= self.policy.wrong_answers_max.max(1) as usize;
        if is_too_often {
            self.wrong.clear();
            self.punishments = self.punishments.saturating_add(1);
            let (first, longest) = (self.policy.punished_ms_min, self.policy.punished_ms_max);
            let until = now.saturating_add(doubled(first, self.punishments, longest));
            self.punished = Some(LeftAlone { until });
            self.changed(Change::Punished, format!("{what}; until {until}"), now);
        }
    }

    /// Sets it by hand, or gives it back to itself. What it was punished or throttled for is forgiven then.
    pub fn force(&mut self, forced: Option<Forced>, now: Timestamp) {
        let is_forgiven = self.punished.is_none() && self.throttled.is_none() && self.wrong.is_empty();
        if self.forced == forced && (forced.is_some() || is_forgiven) {
            return;
        }
        self.forced = forced;
        let change = match forced {
            Some(Forced::Open) => Change::ForcedOpen,
            Some(Forced::Closed) => Change::ForcedClosed,
            None => Change::Unforced,
        };
        if forced.is_none() {
            (self.throttled, self.punished) = (None, None);
            self.wrong.clear();
        }
        self.changed(change, "an operator".to_owned(), now);
    }

    /// It is asked first from now on.
    pub fn became_primary(&mut self, reason: String, now: Timestamp) {
        self.changed(Change::BecamePrimary, reason, now);
    }

    /// The latency that so many percent of the last minute's answers did not exceed.
    pub fn latency(&self, class: Class, percent: usize, now: Timestamp) -> Option<Duration> {
        self.window.latency(class, percent, now)
    }

    /// From 0 to 1,000, the best: what it loses for failures, throttling, slowness, lag and wrong answers.
    pub fn score(&self, now: Timestamp) -> u32 {
        let failures = self.window.permille(Ending::Failed, now) * 400 / 1_000;
        let throttling = self.window.permille(Ending::Throttled, now) * 150 / 1_000;
        // Two seconds and more lose all that slowness can cost.
        let slowness = self.window.latency(Class::Read, 70, now).map_or(0, |p70| millis(p70) / 10).min(200);
        let lag = self.lag.blocks.saturating_mul(10).min(100) + self.lag.final_blocks.saturating_mul(5).min(50);
        let remembered = Duration::from_millis(self.policy.wrong_window_ms);
        let lied = self.wrong.iter().any(|wrong| now.saturating_since(*wrong) <= remembered);
        let lost = failures + throttling + slowness + lag + if lied { 300 } else { 0 };
        1_000 - u32::try_from(lost).unwrap_or(u32::MAX).min(1_000)
    }

    /// What operators see of it.
    pub fn status(&self, is_primary: bool, now: Timestamp) -> EndpointStatus {
        let class_status = |(class, breaker): (&Class, &Breaker)| ClassStatus {
            class: *class,
            state: breaker.state().clone(),
            last_failure: breaker.last_failure().unwrap_or_default().to_owned(),
        };
        let until = |left_alone: Option<LeftAlone>| left_alone.map(|alone| alone.until).filter(|until| now < *until);
        EndpointStatus {
            name: self.name.clone(),
            is_primary,
            score: self.score(now),
            breakers: self.breakers.iter().map(class_status).collect(),
            forced: self.forced,
            latency_p70_ms: self.window.latency(Class::Read, 70, now).map(millis),
            errors_permille: self.window.permille(Ending::Failed, now),
            throttled_permille: self.window.permille(Ending::Throttled, now),
            block: self.block,
            is_lagging: self.is_lagging(),
            lag_blocks: self.lag.blocks,
            final_lag_blocks: self.lag.final_blocks,
            wrong_answers: self.wrong_answers,
            punished_until: until(self.punished),
            throttled_until: until(self.throttled),
            units_left: self.bucket.units_left(&self.policy, now),
            transitions: self.transitions.iter().cloned().collect(),
        }
    }

    fn end_what_is_over(&mut self, now: Timestamp) {
        let is_over = |left_alone: &mut LeftAlone| left_alone.until <= now;
        if self.punished.take_if(is_over).is_some() {
            self.changed(Change::Pardoned, "its time is over".to_owned(), now);
        }
        if self.throttled.take_if(is_over).is_some() {
            self.changed(Change::Unthrottled, "its time is over".to_owned(), now);
        }
    }

    /// Tells the breaker something, and notes when that moves it. `act` gives the reason.
    fn with_breaker(&mut self, class: Class, now: Timestamp, act: impl FnOnce(&mut Breaker) -> String) {
        let Some(breaker) = self.breakers.get_mut(&class) else { return };
        let before = kind(breaker.state(), class);
        let reason = act(breaker);
        let after = kind(breaker.state(), class);
        if before != after {
            self.changed(after, reason, now);
        }
    }

    fn changed(&mut self, change: Change, reason: String, at: Timestamp) {
        if self.transitions.len() >= limits::ENDPOINT_TRANSITIONS_MAX {
            self.transitions.pop_front();
        }
        let reason = reason.chars().take(limits::ENDPOINT_REASON_CHARS_MAX).collect();
        *self.changes.entry(change).or_default() += 1;
        self.transitions.push_back(Transition { at, change, reason });
    }

    fn throttle_time(&self) -> Duration {
        doubled(self.policy.throttled_ms_min, self.throttles, self.policy.throttled_ms_max)
    }
}

fn kind(state: &BreakerState, class: Class) -> Change {
    match state {
        BreakerState::Closed { .. } => Change::Closed(class),
        BreakerState::Open { .. } => Change::Opened(class),
        BreakerState::HalfOpen { .. } => Change::HalfOpened(class),
    }
}

/// The first time, doubled with each further one, at most the longest.
fn doubled(first_ms: u64, times: u32, longest_ms: u64) -> Duration {
    let doublings = times.saturating_sub(1).min(32);
    Duration::from_millis(first_ms.saturating_mul(1 << doublings).min(longest_ms))
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Broadcast => "broadcast",
            Self::History => "history",
        })
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forced => "an operator forced it open",
            Self::Punished => "it gave wrong answers",
            Self::Throttled => "it throttles",
            Self::Spent => "its compute units are spent",
            Self::Open => "its breaker is open",
        })
    }
}
