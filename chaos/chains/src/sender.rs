//! An outbox that lives through kills: after each effect it may be read back from its stored parts.

use std::time::Duration;

use steward_adapters::FeePolicy;
use steward_adapters::chain::{Action, Chain, ChainError, SignedTransaction};
use steward_adapters::courier::carry_out;
use steward_adapters::outbox::{Effect, Event, Intent, Outbox, OutboxPolicy};
use steward_types::{Clock as _, ManualClock, SystemClock, Timestamp};

/// How often it is driven before it is taken for stuck: some minutes of blocks.
const STEPS_MAX: usize = 20_000;

/// An outbox, the chain that it sends to, and a clock of its own.
pub struct Sender<'a> {
    /// The chain that it sends to.
    pub chain: &'a dyn Chain,
    /// The outbox as it is stored.
    pub outbox: Outbox,
    /// The outbox's time; it moves with each step.
    pub clock: ManualClock,
    /// How often the chain did not answer as it should.
    pub failures: u64,
    /// What it said last.
    pub last_failure: Option<ChainError>,
    policy: OutboxPolicy,
    step_time: Duration,
}

impl<'a> Sender<'a> {
    /// An empty outbox.
    pub fn new(chain: &'a dyn Chain, policy: OutboxPolicy) -> Self {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let (outbox, step_time) = (Outbox::default(), Duration::ZERO);
        Self { chain, outbox, clock, failures: 0, last_failure: None, policy, step_time }
    }

    /// The same on a chain that makes its blocks by itself: with each step real time passes too.
    #[must_use]
    pub fn with_step_time(self, step_time: Duration) -> Self {
        Self { step_time, ..self }
    }

    /// When it asks again, replaces and gives up waiting.
    pub const fn policy(&self) -> &OutboxPolicy {
        &self.policy
    }

    /// Wants something done, once.
    pub fn submit(&mut self, key: &str, action: Action) {
        self.apply(Event::Submitted { key: key.to_owned(), action });
    }

    /// Takes note of an intent's end.
    pub fn acknowledge(&mut self, key: &str) {
        self.apply(Event::Acknowledged { key: key.to_owned() });
    }

    /// Tells the outbox what happened.
    ///
    /// # Panics
    /// When it refuses to hear of it.
    pub fn apply(&mut self, event: Event) {
        self.outbox.apply(event, self.clock.now(), &self.policy).expect("the event fits the outbox");
    }

    /// What there is to do now.
    pub fn effects(&self) -> Vec<Effect> {
        self.outbox.next(self.clock.now(), &self.policy)
    }

    /// The intent of this key.
    ///
    /// # Panics
    /// When there is none.
    pub fn intent(&self, key: &str) -> &Intent {
        self.outbox.intent(key).expect("the intent was submitted and not acknowledged")
    }

    /// Carries out an effect and records it.
    pub async fn carry(&mut self, effect: Effect) {
        let carried = carry_out(self.chain, &FeePolicy::default(), effect).await;
        if let Some(failure) = carried.failure {
            self.failures += 1;
            self.last_failure = Some(failure);
        }
        if let Some(event) = carried.event {
            self.apply(event);
        }
    }

    /// What is left of an effect that was carried out when the process is killed before it is recorded.
    pub async fn carry_and_die(&mut self, effect: Effect) {
        let _ = carry_out(self.chain, &FeePolicy::default(), effect).await;
        self.die();
    }

    /// The process is killed and starts again: what was stored is read back.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn die(&mut self) {
        let head = serde_json::to_string(self.outbox.head()).expect("a head is written");
        let intents = serde_json::to_string(self.outbox.intents()).expect("intents are written");
        let head = serde_json::from_str(&head).expect("the head is read");
        let intents = serde_json::from_str(&intents).expect("the intents are read");
        self.outbox = Outbox::from_parts(head, intents);
    }

    /// Carries out what there is to do, and lets time pass.
    pub async fn step(&mut self) {
        for effect in self.effects() {
            self.carry(effect).await;
        }
        self.wait().await;
    }

    /// Lets time pass until the next questions are due.
    pub async fn wait(&self) {
        self.clock.advance(Duration::from_millis(self.policy.poll_ms));
        if !self.step_time.is_zero() {
            SystemClock::new().sleep(self.step_time).await;
        }
    }

    /// Goes on until everything is final.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.outbox.is_settled() {
                return;
            }
            self.step().await;
        }
        panic!("not settled: {:#?}", self.outbox);
    }

    /// The newest transaction of the newest intent.
    ///
    /// # Panics
    /// When there is none.
    pub fn newest(&self) -> SignedTransaction {
        let newest = self.outbox.intents().values().next_back().and_then(|intent| intent.attempts.last());
        newest.expect("the newest intent is signed").transaction.clone()
    }

    /// Steps until the next effect of this kind is due, and returns it.
    pub async fn until(&mut self, is_it: impl Fn(&Effect) -> bool) -> Effect {
        for _ in 0..STEPS_MAX {
            for effect in self.effects() {
                if is_it(&effect) {
                    return effect;
                }
                self.carry(effect).await;
            }
            self.wait().await;
        }
        panic!("it is never due: {:#?}", self.outbox);
    }

    /// Steps until the newest intent is signed and sent, and lets no time pass.
    pub async fn send(&mut self) {
        loop {
            let newest = self.outbox.intents().values().next_back().and_then(|intent| intent.attempts.last());
            if newest.is_some_and(|attempt| attempt.sent) {
                return;
            }
            for effect in self.effects() {
                self.carry(effect).await;
            }
        }
    }

    /// Drives the newest intent to its end, and dies once on the way: around the effect of this number, before it or
    /// after it was carried out. `meanwhile` is what the chain does between two steps.
    ///
    /// # Panics
    /// When there are not so many effects.
    pub async fn settle_and_die_at(&mut self, number: usize, when: When, mut meanwhile: impl AsyncFnMut()) {
        let mut effects = 0;
        while !self.outbox.is_settled() {
            for effect in self.effects() {
                effects += 1;
                if effects == number + 1 {
                    match when {
                        When::Before => self.die(),
                        When::After => self.carry_and_die(effect).await,
                    }
                    break;
                }
                self.carry(effect).await;
            }
            self.wait().await;
            meanwhile().await;
        }
        assert!(effects > number, "the kill happened");
    }
}

/// On which side of an effect the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Before it is carried out.
    Before,
    /// After it was carried out and before that is recorded.
    After,
}

impl When {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Before, Self::After];
}
