//! An outbox that lives through kills: after each effect it may be read back from its stored parts.

use std::time::Duration;

use steward_adapters::chain::{Action, Chain, SignedTransaction};
use steward_adapters::courier::carry_out;
use steward_adapters::outbox::{Effect, Event, Outbox, OutboxPolicy};
use steward_adapters::{ChainError, FeePolicy};
use steward_types::{Clock as _, ManualClock, SystemClock, Timestamp};

pub const POLICY: OutboxPolicy = OutboxPolicy { poll_ms: 10, retry_ms: 10, stuck_ms: 60_000, in_flight_max: 16 };
/// How many times it is driven before it is taken for stuck: some minutes of blocks.
const STEPS_MAX: usize = 10_000;
/// How long real time passes between two drives; the outbox's own clock goes by itself.
const STEP_TIME: Duration = Duration::from_millis(10);

pub struct Sender<'a> {
    pub chain: &'a dyn Chain,
    pub outbox: Outbox,
    pub clock: ManualClock,
    pub failures: Vec<ChainError>,
}

impl<'a> Sender<'a> {
    pub fn new(chain: &'a dyn Chain) -> Self {
        let clock = ManualClock::new(Timestamp::EPOCH);
        Self { chain, outbox: Outbox::default(), clock, failures: Vec::new() }
    }

    pub fn submit(&mut self, key: &str, action: Action) {
        self.apply(Event::Submitted { key: key.to_owned(), action });
    }

    pub fn acknowledge(&mut self, key: &str) {
        self.apply(Event::Acknowledged { key: key.to_owned() });
    }

    pub fn effects(&self) -> Vec<Effect> {
        self.outbox.next(self.clock.now(), &POLICY)
    }

    pub async fn carry(&mut self, effect: Effect) {
        let carried = carry_out(self.chain, &FeePolicy::default(), effect).await;
        self.failures.extend(carried.failure);
        if let Some(event) = carried.event {
            self.apply(event);
        }
    }

    /// What is left of an effect that was carried out when the process is killed before it is recorded.
    pub async fn carry_and_die(&mut self, effect: Effect) {
        let _ = carry_out(self.chain, &FeePolicy::default(), effect).await;
        self.die();
    }

    pub fn die(&mut self) {
        let head = serde_json::to_string(self.outbox.head()).unwrap();
        let intents = serde_json::to_string(self.outbox.intents()).unwrap();
        let (head, intents) = (serde_json::from_str(&head).unwrap(), serde_json::from_str(&intents).unwrap());
        self.outbox = Outbox::from_parts(head, intents);
    }

    pub async fn step(&mut self) {
        for effect in self.effects() {
            self.carry(effect).await;
        }
        self.wait().await;
    }

    /// Lets the chain make its blocks.
    pub async fn wait(&self) {
        self.clock.advance(Duration::from_millis(POLICY.poll_ms));
        SystemClock::new().sleep(STEP_TIME).await;
    }

    /// Goes on until everything is final.
    pub async fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.outbox.is_settled() {
                return;
            }
            self.step().await;
        }
        panic!("not settled: {:#?}", self.outbox);
    }

    pub fn newest(&self) -> SignedTransaction {
        let intent = self.outbox.intents().values().next_back().unwrap();
        intent.attempts.last().unwrap().transaction.clone()
    }

    /// Steps until the newest intent is signed and sent.
    pub async fn send(&mut self) {
        loop {
            let intent = self.outbox.intents().values().next_back().unwrap();
            if intent.attempts.last().is_some_and(|attempt| attempt.sent) {
                return;
            }
            for effect in self.effects() {
                self.carry(effect).await;
            }
        }
    }

    fn apply(&mut self, event: Event) {
        self.outbox.apply(event, self.clock.now(), &POLICY).unwrap();
    }
}
