//! Payments through three endpoints that drop, delay, throttle, garble, lag, lie and swallow, by an outbox that is killed
//! between any two steps, on a chain that reorganises and whose fees jump: each payment is made exactly once.

use std::collections::BTreeSet;

use serde_json::json;
use steward_adapters::chain::{Action, Amount, Chain, Consistency};
use steward_adapters::courier::carry_out;
use steward_adapters::fee::FeePolicy;
use steward_adapters::outbox::{Effect, Event, Outbox, OutboxPolicy};
use steward_adapters::pool::Pool;
use steward_adapters_evm::{Anvil, EvmChain, Mining};
use steward_types::{Clock, Entropy, ManualClock, SeededEntropy, Timestamp};

use super::endpoints::pooled;
use super::proxy::{Fault, Proxy, Rules};
use super::{anvil, chain, rpc};

const POLICY: OutboxPolicy = OutboxPolicy { poll_ms: 10, retry_ms: 10, stuck_ms: 400, in_flight_max: 16 };
/// Deeper than any reorganisation of the test.
const CONFIRMATIONS: u64 = 8;
const AMOUNT: u64 = 1_000;

/// How many payments the test makes: more where somebody has the time.
fn payments() -> u64 {
    std::env::var("STEWARD_TRANSFERS").map_or(25, |text| text.parse().unwrap())
}

/// Each payment has its own recipient, who shows whether it was made once.
fn recipient(number: u64) -> String {
    format!("0x{:040x}", 0x5000_0000_0000_0000_u64 + number)
}

struct World {
    anvil: EvmChain,
    pool: Pool,
    proxies: Vec<Proxy>,
    outbox: Outbox,
    clock: ManualClock,
    dice: SeededEntropy,
    kills: BTreeSet<(&'static str, bool)>,
    reorganised: BTreeSet<u64>,
    fee_spikes: u64,
}

/// What the effect is called, so that the test can say after which steps it was killed.
const fn step(effect: &Effect) -> &'static str {
    match effect {
        Effect::Reconcile => "reconcile",
        Effect::Sign { .. } => "sign",
        Effect::Broadcast { .. } => "broadcast",
        Effect::Query { .. } => "query",
    }
}

impl World {
    fn roll(&self, sides: u64) -> u64 {
        self.dice.next_u64() % sides
    }

    fn apply(&mut self, event: Event) {
        self.outbox.apply(event, self.clock.now(), &POLICY).unwrap();
    }

    /// What a kill leaves: the stored parts, read back.
    fn die(&mut self) {
        let head = serde_json::to_string(self.outbox.head()).unwrap();
        let intents = serde_json::to_string(self.outbox.intents()).unwrap();
        let (head, intents) = (serde_json::from_str(&head).unwrap(), serde_json::from_str(&intents).unwrap());
        self.outbox = Outbox::from_parts(head, intents);
    }

    fn is_killed(&mut self, moment: (&'static str, bool)) -> bool {
        self.kills.insert(moment) || self.roll(16) == 0
    }

    /// Carries out what is due. It is killed before each kind of effect at least once, and after each before that is
    /// stored; later one time in sixteen each.
    async fn advance(&mut self) {
        for effect in self.outbox.next(self.clock.now(), &POLICY) {
            let name = step(&effect);
            if self.is_killed((name, false)) {
                return self.die();
            }
            let carried = carry_out(&self.pool, &FeePolicy::default(), effect).await;
            if self.is_killed((name, true)) {
                return self.die();
            }
            if let Some(event) = carried.event {
                self.apply(event);
            }
        }
        self.clock.advance(std::time::Duration::from_millis(POLICY.poll_ms));
    }

    /// The chain goes on: mostly a block; at times a reorganisation or a jump of the fees.
    async fn chain_goes_on(&mut self) {
        rpc(&self.anvil, "evm_mine", json!([])).await;
        if self.roll(20) == 0 {
            let depth = 1 + self.roll(5);
            rpc(&self.anvil, "anvil_reorg", json!([depth, []])).await;
            self.reorganised.insert(depth);
        }
        if self.roll(30) == 0 {
            rpc(&self.anvil, "anvil_setNextBlockBaseFeePerGas", json!(["0x174876e800"])).await;
            self.fee_spikes += 1;
        }
    }

    /// Every fault, but never two liars at once: two of three must be believed.
    fn break_endpoints(&self, round: u64) {
        let honest: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| *fault != Fault::Lies).collect();
        let liar = (round / 20) % 3;
        for (number, proxy) in (0..).zip(&self.proxies) {
            let sometimes = if number == liar { Fault::ALL.to_vec() } else { honest.clone() };
            proxy.rule(Rules { always: None, sometimes, permille: 150 });
        }
    }

    fn is_done(&self, submitted: u64, all: u64) -> bool {
        submitted == all && self.outbox.is_settled()
    }
}

#[tokio::test]
async fn each_payment_is_made_exactly_once_whatever_fails() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = chain(anvil.url(), 1);
    // Enough blocks that one which is behind is behind something, and no reorganisation reaches the first.
    rpc(&direct, "anvil_mine", json!(["0x40"])).await;
    rpc(&direct, "evm_setAutomine", json!([false])).await;
    let (pool, proxies) = pooled(&anvil, &Anvil::development_key(), 3, CONFIRMATIONS, 2).await;
    let mut world = World {
        anvil: direct,
        pool,
        proxies,
        outbox: Outbox::default(),
        clock: ManualClock::new(Timestamp::EPOCH),
        dice: SeededEntropy::new(7),
        kills: BTreeSet::new(),
        reorganised: BTreeSet::new(),
        fee_spikes: 0,
    };
    let (all, mut submitted, mut round) = (payments(), 0, 0_u64);
    while !world.is_done(submitted, all) {
        while submitted < all && world.outbox.intents().len() < 24 {
            let action = Action::Transfer { to: recipient(submitted), amount: AMOUNT.into(), asset: None };
            world.apply(Event::Submitted { key: format!("payment {submitted}"), action });
            submitted += 1;
        }
        world.break_endpoints(round);
        world.advance().await;
        world.chain_goes_on().await;
        let done: Vec<String> = world
            .outbox
            .intents()
            .values()
            .filter(|intent| intent.outcome.is_some())
            .map(|intent| intent.key.clone())
            .collect();
        for key in done.into_iter().filter(|_| submitted < all) {
            assert!(world.outbox.intent(&key).unwrap().outcome.as_ref().unwrap().succeeded, "{key}");
            world.apply(Event::Acknowledged { key });
        }
        round += 1;
        assert!(round < 400 * (all + 10), "it does not end: {:#?}", world.outbox);
    }
    check(&world, all, round).await;
}

#[expect(clippy::print_stdout, reason = "a long run says what it went through")]
async fn check(world: &World, all: u64, rounds: u64) {
    for number in 0..all {
        let balance = world.anvil.balance(&recipient(number), None, Consistency::Latest).await.unwrap();
        assert_eq!(balance, Amount::from(AMOUNT), "payment {number}");
    }
    let sequence = world.anvil.sequence(Consistency::Latest).await.unwrap().unwrap();
    let pool = rpc(&world.anvil, "txpool_status", json!([])).await;
    assert_eq!((&pool["pending"], &pool["queued"]), (&json!("0x0"), &json!("0x0")), "nothing waits behind a gap");
    assert!(sequence >= all);
    let mut fired = std::collections::BTreeMap::new();
    for proxy in &world.proxies {
        proxy.fired().into_iter().for_each(|(fault, count)| *fired.entry(fault).or_insert(0) += count);
    }
    println!(
        "{all} payments in {rounds} rounds, {} sequence numbers for gaps; faults {fired:?}; kills {:?}; reorganised {:?}; \
         {} fee spikes",
        sequence - all,
        world.kills,
        world.reorganised,
        world.fee_spikes
    );
    for fault in Fault::ALL {
        assert!(fired.get(&fault).is_some_and(|count| *count > 0), "{fault:?} fired");
    }
    for name in ["reconcile", "sign", "broadcast", "query"] {
        for is_after in [false, true] {
            assert!(world.kills.contains(&(name, is_after)), "killed {name} {is_after}");
        }
    }
    assert!(!world.reorganised.is_empty() && world.fee_spikes > 0);
}
