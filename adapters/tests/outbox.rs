//! The outbox against every order of mining, loss, reorganisation, strangers and crashes that fits the bounds, and
//! against long random ones: an intent lands at most once, and once the chain is well again exactly once.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use proptest::prelude::*;
use steward_adapters::chain::{Action, Broadcast, Consistency};
use steward_adapters::conformance::point;
use steward_adapters::fee::{FeePolicy, MarketFee};
use steward_adapters::ledger::{Ledger, Lost};
use steward_adapters::outbox::{Effect, Event, Intent, Outbox, OutboxHead, OutboxPolicy, Standing};
use steward_types::Timestamp;

const POLICY: OutboxPolicy = OutboxPolicy { poll_ms: 10, retry_ms: 10, stuck_ms: 100, in_flight_max: 2 };

/// How far an effect gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carry {
    /// It is carried out and recorded.
    Whole,
    /// It is carried out, then the process is killed before it is recorded.
    ThenCrash,
    /// It reaches the chain, but the answer is lost.
    ReplyLost,
    /// It does not reach the chain.
    NotSent,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Carry(usize, Carry),
    Crash,
    Mine,
    Stranger,
    Reorganize(Lost),
    ForgetPool,
    Wait(u64),
}

#[derive(Clone)]
struct World {
    outbox: Outbox,
    ledger: Ledger,
    now: u64,
    /// How often something went wrong, bounded in the exhaustive search.
    faults: u32,
}

impl World {
    fn new(intents: u64) -> Self {
        let mut outbox = Outbox::default();
        for number in 0..intents {
            let event = Event::Submitted { key: format!("intent {number}"), action: action(number) };
            outbox.apply(event, Timestamp::EPOCH, &POLICY).unwrap();
        }
        Self { outbox, ledger: Ledger::new(3), now: 0, faults: 0 }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn effects(&self) -> Vec<Effect> {
        self.outbox.next(self.now(), &POLICY)
    }

    fn make(&mut self, step: Move) {
        match step {
            Move::Carry(number, carry) => {
                if let Some(effect) = self.effects().get(number).cloned() {
                    self.carry_out(effect, carry);
                }
            }
            Move::Crash => self.crash(),
            Move::Mine => self.ledger.mine(),
            Move::Stranger => self.ledger.mine_stranger(),
            Move::Reorganize(lost) => self.ledger.reorganize(lost),
            Move::ForgetPool => self.ledger.forget_pool(),
            Move::Wait(millis) => self.now += millis,
        }
        let faulty = !matches!(step, Move::Carry(_, Carry::Whole) | Move::Mine | Move::Wait(_));
        self.faults += u32::from(faulty);
    }

    fn carry_out(&mut self, effect: Effect, carry: Carry) {
        let event = match effect {
            Effect::Reconcile => Event::Reconciled(Standing {
                latest_sequence: self.ledger.sequence(Consistency::Latest),
                final_sequence: self.ledger.sequence(Consistency::Final),
                genesis: "genesis".to_owned(),
                account: "account".to_owned(),
            }),
            Effect::Sign { intent, action, sequence, replaces } => {
                let fee = FeePolicy::default().choose(MarketFee { base: 10, tip: 1 }, replaces).unwrap();
                Event::Signed { intent, transaction: self.ledger.sign(&action, sequence, fee) }
            }
            Effect::Broadcast { intent, transaction } => {
                let result = match carry {
                    Carry::NotSent => Err("not sent".to_owned()),
                    Carry::ReplyLost => {
                        self.ledger.broadcast(&transaction.bytes).unwrap();
                        Err("the reply was lost".to_owned())
                    }
                    Carry::Whole | Carry::ThenCrash => Ok(self.ledger.broadcast(&transaction.bytes).unwrap()),
                };
                if let Ok(Broadcast::Underpriced) = result {
                    assert!(self.ledger.pool_len() > 0);
                }
                Event::Broadcast { intent, hash: transaction.hash, result }
            }
            Effect::Query { intent, hashes, sequence } => {
                let status = |hash: String| {
                    let status = self.ledger.status(&hash, sequence);
                    (hash, status)
                };
                Event::Observed { intent, statuses: hashes.into_iter().map(status).collect() }
            }
        };
        if carry == Carry::ThenCrash {
            self.crash();
        } else {
            let now = self.now();
            self.outbox.apply(event, now, &POLICY).unwrap();
        }
    }

    /// What a kill leaves: the stored parts, read back.
    fn crash(&mut self) {
        let head: OutboxHead = read_back(self.outbox.head());
        let intents = self.outbox.intents().iter().map(|(number, intent)| (*number, read_back::<Intent>(intent)));
        self.outbox = Outbox::from_parts(head, intents.collect());
    }

    fn check(&self) {
        for (number, intent) in self.outbox.intents().iter().filter(|(_, intent)| intent.action != Action::Fill) {
            let landed = self.ledger.landed().filter(|landed| **landed == intent.action).count();
            assert!(landed <= 1, "intent {number} landed {landed} times");
            if let Some(outcome) = &intent.outcome {
                assert!(landed == 1 && outcome.succeeded, "intent {number} is done and landed {landed} times");
            }
            let sequences: HashSet<u64> = intent.attempts.iter().map(|attempt| attempt.transaction.sequence).collect();
            assert!(sequences.len() <= 1, "an intent's transactions share their sequence number");
        }
    }

    /// Nothing goes wrong any more: everything must come to its end.
    fn heal(mut self) {
        for _ in 0..200 {
            for effect in self.effects() {
                self.carry_out(effect, Carry::Whole);
            }
            self.check();
            if self.outbox.is_settled() {
                return;
            }
            self.ledger.mine();
            self.now += POLICY.stuck_ms / 4;
        }
        panic!("not settled: {:#?}", self.outbox);
    }

    /// What tells two states apart for the exhaustive search.
    fn key(&self) -> u64 {
        let text = format!("{:?} {:?} {} {}", self.outbox, self.ledger, self.now, self.faults);
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    }
}

fn action(number: u64) -> Action {
    // Equal sizes and roots would be one anchor; each intent anchors its own log.
    let mut point = point(1, 1);
    point.log_id = [number as u8; 32];
    Action::Anchor { contract: "contract".to_owned(), point }
}

fn read_back<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

/// Tries every order of moves with at most `faults_max` faults and `blocks_max` blocks, and returns how many states
/// there are.
fn explore(intents: u64, faults_max: u32, blocks_max: u64) -> usize {
    let faults =
        [Move::Crash, Move::Stranger, Move::Reorganize(Lost::Yes), Move::Reorganize(Lost::No), Move::ForgetPool];
    let first = World::new(intents);
    let mut seen = HashSet::from([first.key()]);
    let mut queue = vec![first];
    let mut ends = 0;
    while let Some(world) = queue.pop() {
        if world.outbox.is_settled() {
            ends += 1;
            continue;
        }
        let effects = world.effects().len();
        let mut moves = vec![Move::Mine];
        moves.extend((effects == 0).then_some(Move::Wait(POLICY.stuck_ms)));
        moves.extend((0..effects).map(|number| Move::Carry(number, Carry::Whole)));
        if world.faults < faults_max {
            moves.extend(faults);
            for number in 0..effects {
                moves.extend([Carry::ThenCrash, Carry::ReplyLost, Carry::NotSent].map(|c| Move::Carry(number, c)));
            }
        }
        for step in moves {
            let mut next = world.clone();
            next.make(step);
            let is_within = next.ledger.head().block <= blocks_max && next.now <= 2 * POLICY.stuck_ms;
            if is_within && seen.insert(next.key()) {
                next.check();
                queue.push(next);
            }
        }
    }
    assert!(ends > 0, "some orders came to their end within the bounds");
    seen.len()
}

#[test]
fn no_order_of_faults_lands_an_intent_twice() {
    let states = [explore(1, 2, 3), explore(2, 1, 3)];
    println!("explored {states:?} states");
}

fn any_move() -> impl Strategy<Value = Move> {
    let carry = prop_oneof![
        4 => Just(Carry::Whole), 1 => Just(Carry::ThenCrash), 1 => Just(Carry::ReplyLost), 1 => Just(Carry::NotSent)
    ];
    prop_oneof![
        8 => (0..3usize, carry).prop_map(|(number, carry)| Move::Carry(number, carry)),
        1 => Just(Move::Crash),
        3 => Just(Move::Mine),
        1 => Just(Move::Stranger),
        1 => Just(Move::Reorganize(Lost::Yes)),
        1 => Just(Move::Reorganize(Lost::No)),
        1 => Just(Move::ForgetPool),
        3 => (1..150u64).prop_map(Move::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happened_every_intent_lands_once_in_the_end(moves in prop::collection::vec(any_move(), 0..120)) {
        let mut world = World::new(2);
        for step in moves {
            world.make(step);
            world.check();
        }
        world.heal();
    }
}

#[test]
fn a_restart_sends_the_same_bytes_again() {
    let mut world = World::new(2);
    world.make(Move::Carry(0, Carry::Whole)); // reconcile
    world.make(Move::Carry(0, Carry::Whole)); // sign
    let before = sent(&world);
    world.make(Move::Carry(0, Carry::ThenCrash)); // broadcast, and be killed
    world.ledger.forget_pool();
    assert_eq!(world.effects(), [Effect::Reconcile], "nothing is sent before the chain was asked");
    world.make(Move::Carry(0, Carry::Whole));
    assert_eq!(sent(&world), before);
}

#[test]
fn a_stuck_transaction_is_replaced_under_its_sequence_number_with_a_higher_fee() {
    let mut world = World::new(2);
    for _ in 0..6 {
        world.make(Move::Carry(0, Carry::Whole));
    }
    let first = world.outbox.intents()[&0].attempts[0].transaction.clone();
    world.make(Move::Wait(POLICY.stuck_ms));
    assert_eq!(world.effects(), [Effect::Reconcile], "the chain is asked first whether it stands where we think");
    world.make(Move::Carry(0, Carry::Whole));
    let sign = world.effects().into_iter().find(|effect| matches!(effect, Effect::Sign { intent: 0, .. })).unwrap();
    world.carry_out(sign, Carry::Whole);
    let attempts = &world.outbox.intents()[&0].attempts;
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[1].transaction.sequence, first.sequence);
    assert!(attempts[1].transaction.fee.price * 10 >= first.fee.price * 11);
    assert!(world.outbox.intents()[&1].attempts.len() <= 1, "one that waits for another is not replaced");
    world.heal();
}

#[test]
fn a_key_submitted_again_is_one_intent_and_goes_when_it_is_acknowledged() {
    let mut world = World::new(2);
    let again = Event::Submitted { key: "intent 0".to_owned(), action: action(0) };
    world.outbox.apply(again, Timestamp::EPOCH, &POLICY).unwrap();
    assert_eq!(world.outbox.intents().len(), 2);
    let acknowledged = Event::Acknowledged { key: "intent 0".to_owned() };
    world.outbox.apply(acknowledged.clone(), Timestamp::EPOCH, &POLICY).unwrap();
    assert_eq!(world.outbox.intents().len(), 2, "what is not done is not forgotten");
    while !world.outbox.is_settled() {
        world.effects().into_iter().for_each(|effect| world.carry_out(effect, Carry::Whole));
        world.ledger.mine();
        world.now += POLICY.poll_ms;
    }
    world.outbox.apply(acknowledged, world.now(), &POLICY).unwrap();
    assert!(world.outbox.intent("intent 0").is_none());
}

#[test]
fn a_chain_that_was_reset_stalls_the_outbox_until_it_is_the_old_one() {
    let mut outbox = World::new(2).outbox;
    let standing = |genesis: &str, final_sequence| {
        let (genesis, account) = (genesis.to_owned(), "account".to_owned());
        Event::Reconciled(Standing { latest_sequence: 5, final_sequence, genesis, account })
    };
    outbox.apply(standing("a", 5), Timestamp::EPOCH, &POLICY).unwrap();
    outbox = Outbox::from_parts(outbox.head().clone(), outbox.intents().clone());
    for wrong in [standing("b", 5), standing("a", 4)] {
        outbox.apply(wrong, Timestamp::EPOCH, &POLICY).unwrap();
        assert!(outbox.head().stalled.is_some());
        assert!(outbox.next(Timestamp::EPOCH, &POLICY).is_empty());
        let later = Timestamp::EPOCH.saturating_add(Duration::from_millis(POLICY.retry_ms));
        assert_eq!(outbox.next(later, &POLICY), [Effect::Reconcile]);
    }
    outbox.apply(standing("a", 5), Timestamp::EPOCH, &POLICY).unwrap();
    assert_eq!(outbox.head().stalled, None);
    assert!(matches!(outbox.next(Timestamp::EPOCH, &POLICY)[..], [Effect::Sign { sequence: 5, .. }]));
}

#[test]
fn another_key_takes_over_once_nothing_of_the_old_one_can_land() {
    let mut outbox = World::new(1).outbox;
    let standing = |account: &str, sequence| {
        let (genesis, account) = ("genesis".to_owned(), account.to_owned());
        Event::Reconciled(Standing { latest_sequence: sequence, final_sequence: sequence, genesis, account })
    };
    let restarted = |outbox: &mut Outbox, event| {
        *outbox = Outbox::from_parts(outbox.head().clone(), outbox.intents().clone());
        outbox.apply(event, Timestamp::EPOCH, &POLICY).unwrap();
    };
    restarted(&mut outbox, standing("old", 7));
    restarted(&mut outbox, standing("new", 2));
    assert_eq!(outbox.head().stalled, None);
    let [Effect::Sign { intent, sequence: 2, action, .. }] = &outbox.next(Timestamp::EPOCH, &POLICY)[..] else {
        panic!("{outbox:?}")
    };
    let fee = FeePolicy::default().choose(MarketFee { base: 10, tip: 1 }, None).unwrap();
    let transaction = World::new(0).ledger.sign(action, 2, fee);
    outbox.apply(Event::Signed { intent: *intent, transaction }, Timestamp::EPOCH, &POLICY).unwrap();
    restarted(&mut outbox, standing("third", 0));
    let stalled = outbox.head().stalled.clone().unwrap();
    assert!(stalled.contains("third") && stalled.contains("new"), "{stalled}");
    assert!(outbox.next(Timestamp::EPOCH, &POLICY).is_empty(), "nothing is sent with either key");
    restarted(&mut outbox, standing("new", 2));
    assert_eq!(outbox.head().stalled, None);
    assert!(matches!(outbox.next(Timestamp::EPOCH, &POLICY)[..], [Effect::Broadcast { .. }]));
}

fn sent(world: &World) -> Vec<Effect> {
    world.effects().into_iter().filter(|effect| matches!(effect, Effect::Broadcast { .. })).collect()
}
