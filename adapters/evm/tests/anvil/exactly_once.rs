//! Payments and anchors through three endpoints that drop, delay, throttle, garble, lag, lie and swallow, by an outbox
//! that is killed between any two steps, on a chain that reorganises and whose fees jump: each is made exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use steward_adapters::chain::{Action, AnchorPoint, Chain, Consistency};
use steward_adapters::conformance::point;
use steward_adapters::outbox::OutboxPolicy;
use steward_adapters_evm::{EvmChain, Mining};
use steward_chaos_chains::{Sender, Trial, Work, intents, recover};
use steward_types::{Entropy as _, SeededEntropy};

use super::endpoints::pooled;
use super::{anvil, chain, deploy, mine, rpc};

const POLICY: OutboxPolicy =
    OutboxPolicy { poll_ms: 10, retry_ms: 10, stuck_ms: 400, watch_ms: 4_000, in_flight_max: 16 };
/// Deeper than any reorganisation of the test.
const CONFIRMATIONS: u64 = 8;
const REORGANISED_MAX: u64 = 5;
/// An outbox that asks every 10 s or so, on a chain with a block every 4 s.
const BLOCKS_A_ROUND: u64 = 3;
const AMOUNT: u64 = 1_000;
/// How many payments are made, and how many anchors, when nobody asks for more.
const FEW: u64 = 15;
/// How many in a thousand calls are broken.
const PERMILLE: u64 = 150;
/// How often an outbox asks within a block's time, on a chain with a block every 12 s.
const STEPS_A_BLOCK: usize = 12;
/// What waits when the endpoints come back.
const WAITING: u64 = 16;
const RECOVERY_BLOCKS_MAX: u64 = 3;

/// Each payment has its own recipient, who shows whether it was made once.
fn recipient(number: u64) -> String {
    format!("0x{:040x}", 0x5000_0000_0000_0000_u64 + number)
}

fn payment(number: u64) -> Action {
    Action::Transfer { to: recipient(number), amount: AMOUNT.into(), asset: None }
}

/// Each anchor is one of a log of its own, so that its event shows whether it was made once.
fn anchor_of(contract: &str, number: u64) -> Action {
    let mut log_id = [9; 32];
    log_id[..8].copy_from_slice(&number.to_be_bytes());
    Action::Anchor { contract: contract.to_owned(), point: AnchorPoint { log_id, ..point(1, 1) } }
}

/// What happens to the chain by itself.
struct Weather<'a> {
    chain: &'a EvmChain,
    dice: SeededEntropy,
    reorganised: BTreeMap<u64, u64>,
    fee_spikes: u64,
    rounds: u64,
}

impl Weather<'_> {
    /// Mostly some blocks; one time in ten a reorganisation, of each depth in turn; at times a jump of the fees.
    async fn goes_on(&mut self) {
        for _ in 0..BLOCKS_A_ROUND {
            mine(self.chain).await;
        }
        self.rounds += 1;
        if self.rounds.is_multiple_of(10) {
            let depth = 1 + (self.rounds / 10) % REORGANISED_MAX;
            rpc(self.chain, "anvil_reorg", json!([depth, []])).await;
            *self.reorganised.entry(depth).or_default() += 1;
        }
        if self.rounds % 30 == 7 || self.dice.next_u64().is_multiple_of(60) {
            rpc(self.chain, "anvil_setNextBlockBaseFeePerGas", json!(["0x174876e800"])).await;
            self.fee_spikes += 1;
        }
    }

    fn has_seen_everything(&self) -> bool {
        self.reorganised.len() as u64 == REORGANISED_MAX && self.fee_spikes > 0
    }
}

#[tokio::test]
async fn payments_and_anchors_are_made_exactly_once_whatever_fails_and_soon_after_it_is_over() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = chain(anvil.url(), 1);
    let contract = deploy(&direct).await;
    // Enough blocks that one which is behind is behind something, and no reorganisation reaches the first.
    rpc(&direct, "anvil_mine", json!(["0x40"])).await;
    rpc(&direct, "evm_setAutomine", json!([false])).await;
    let (pool, proxies) = pooled(&anvil, 3, CONFIRMATIONS, 2).await;
    let anchor = |number| anchor_of(&contract, number);
    let work = Work { payment: &payment, anchor: &anchor };
    let mut trial = Trial::new(Sender::new(&pool, POLICY), &proxies, work, intents(FEW), PERMILLE);
    let dice = SeededEntropy::new(8);
    let mut weather = Weather { chain: &direct, dice, reorganised: BTreeMap::new(), fee_spikes: 0, rounds: 0 };
    while !trial.is_done() || !weather.has_seen_everything() {
        trial.round().await;
        weather.goes_on().await;
    }
    let made = trial.submitted();
    println!("{trial}; reorganised {:?}; {} fee spikes", weather.reorganised, weather.fee_spikes);
    check(&direct, &contract, made, trial.fills() as u64).await;

    let mut sender = trial.into_sender().with_step_time(Duration::from_millis(20));
    let actions = (made..made + WAITING / 2).flat_map(|number| [payment(number), anchor(number)]).collect();
    let block = async |sender: &mut Sender<'_>| {
        for _ in 0..STEPS_A_BLOCK {
            sender.step().await;
        }
        mine(&direct).await;
    };
    let recovery = recover(&mut sender, (&pool, &proxies), &direct, actions, block).await;
    println!("{recovery}");
    assert!(recovery.blocks <= RECOVERY_BLOCKS_MAX, "{recovery}");
}

/// Asks the chain itself: each recipient has its payment, each log its anchor, and nothing else was sent.
async fn check(direct: &EvmChain, contract: &str, made: u64, fills: u64) {
    for number in 0..made {
        let balance = direct.balance(&recipient(number), None, Consistency::Latest).await.unwrap();
        assert_eq!(balance, AMOUNT.into(), "payment {number}");
    }
    let events = rpc(direct, "eth_getLogs", json!([{ "address": contract, "fromBlock": "0x0" }])).await;
    let logs: Vec<&Value> = events.as_array().unwrap().iter().map(|event| &event["topics"]).collect();
    let distinct: BTreeSet<String> = logs.iter().map(|topics| topics.to_string()).collect();
    assert_eq!((logs.len() as u64, distinct.len() as u64), (made, made), "one event an anchor");
    let pool = rpc(direct, "txpool_status", json!([])).await;
    assert_eq!((&pool["pending"], &pool["queued"]), (&json!("0x0"), &json!("0x0")), "nothing waits behind a gap");
    let sent = direct.sequence(Consistency::Latest).await.unwrap().unwrap();
    // The contract, the payments and the anchors, and what took the place of a number that was missing.
    assert!((1 + 2 * made..=1 + 2 * made + fills).contains(&sent), "{sent} transactions for {made} of each");
}
