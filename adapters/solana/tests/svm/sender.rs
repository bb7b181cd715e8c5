//! An outbox that lives through kills: after each effect it may be read back from its stored parts.

use steward_adapters::FeePolicy;
use steward_adapters::chain::{Action, SignedTransaction};
use steward_adapters::courier::carry_out;
use steward_adapters::outbox::{Effect, Event, Intent, Outbox, OutboxPolicy};
use steward_adapters_solana::SolanaChain;
use steward_types::{Clock as _, SystemClock, Timestamp};

pub const POLICY: OutboxPolicy = OutboxPolicy { poll_ms: 40, retry_ms: 40, stuck_ms: 2_000, in_flight_max: 16 };

pub struct Sender<'a> {
    chain: &'a SolanaChain,
    pub outbox: Outbox,
    clock: SystemClock,
}

impl<'a> Sender<'a> {
    pub fn new(chain: &'a SolanaChain) -> Self {
        Self { chain, outbox: Outbox::default(), clock: SystemClock::new() }
    }

    pub fn submit(&mut self, key: &str, action: Action) {
        self.apply(Event::Submitted { key: key.to_owned(), action });
    }

    pub fn apply(&mut self, event: Event) {
        self.outbox.apply(event, self.now(), &POLICY).unwrap();
    }

    pub fn effects(&self) -> Vec<Effect> {
        self.outbox.next(self.now(), &POLICY)
    }

    pub fn intent(&self, key: &str) -> &Intent {
        self.outbox.intent(key).unwrap()
    }

    /// The one transaction of an intent.
    pub fn transaction(&self, key: &str) -> SignedTransaction {
        let [attempt] = &self.intent(key).attempts[..] else { panic!("{:?}", self.intent(key)) };
        attempt.transaction.clone()
    }

    pub async fn carry(&mut self, effect: Effect) {
        if let Some(event) = carry_out(self.chain, &FeePolicy::default(), effect).await.event {
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

    /// Carries out what there is to do, then lets a block or two pass.
    pub async fn step(&mut self) {
        for effect in self.effects() {
            self.carry(effect).await;
        }
        self.pass_time().await;
    }

    pub async fn pass_time(&self) {
        self.clock.sleep(std::time::Duration::from_millis(POLICY.poll_ms / 2)).await;
    }

    /// Steps until the next effect of this kind, and returns it.
    pub async fn until(&mut self, is_it: impl Fn(&Effect) -> bool) -> Effect {
        loop {
            for effect in self.effects() {
                if is_it(&effect) {
                    return effect;
                }
                self.carry(effect).await;
            }
            self.pass_time().await;
        }
    }

    pub async fn settle(&mut self) {
        while !self.outbox.is_settled() {
            self.step().await;
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
