//! A world for the outbox: a ledger, a process that is killed, and a network that loses what it carries. Every order of
//! its moves is tried within bounds, and long random ones beyond them.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use steward_adapters::chain::{Action, Broadcast, Consistency, SignedTransaction, TransactionStatus};
use steward_adapters::conformance::point;
use steward_adapters::fee::{FeePolicy, MarketFee};
use steward_adapters::ledger::{Ledger, Lost};
use steward_adapters::outbox::{Effect, Event, Intent, Outbox, OutboxHead, OutboxPolicy, Sequences, Standing};
use steward_types::Timestamp;

pub const POLICY: OutboxPolicy = OutboxPolicy { poll_ms: 10, retry_ms: 10, stuck_ms: 100, in_flight_max: 2 };

/// How far an effect gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
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
pub enum Move {
    Carry(usize, Carry),
    Crash,
    Mine,
    /// A block is made that nothing of what waits is in.
    MineEmpty,
    Stranger,
    Reorganize(Lost),
    ForgetPool,
    Wait(u64),
}

#[derive(Clone)]
pub struct World {
    pub outbox: Outbox,
    pub ledger: Ledger,
    policy: OutboxPolicy,
    pub now: u64,
    /// How often something went wrong, bounded in the exhaustive search.
    faults: u32,
    /// Every transaction that ever reached the chain, by hash, with its intent.
    arrived: BTreeMap<String, (u64, SignedTransaction)>,
    /// Whether a transaction ever expired, so that another was signed.
    pub has_expired: bool,
}

impl World {
    /// A world whose chain has sequence numbers.
    pub fn new(intents: u64) -> Self {
        Self::on(Ledger::new(3), intents)
    }

    pub fn on(ledger: Ledger, intents: u64) -> Self {
        let mut outbox = Outbox::default();
        for number in 0..intents {
            let event = Event::Submitted { key: format!("intent {number}"), action: action(number) };
            outbox.apply(event, Timestamp::EPOCH, &POLICY).unwrap();
        }
        Self { outbox, ledger, policy: POLICY, now: 0, faults: 0, arrived: BTreeMap::new(), has_expired: false }
    }

    /// The same, but nothing is waited for between two questions, so that time is no part of the search.
    pub fn without_waits(mut self) -> Self {
        self.policy = OutboxPolicy { poll_ms: 0, retry_ms: 0, ..POLICY };
        self
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    pub fn effects(&self) -> Vec<Effect> {
        self.outbox.next(self.now(), &self.policy)
    }

    pub fn make(&mut self, step: Move) {
        match step {
            Move::Carry(number, carry) => {
                if let Some(effect) = self.effects().get(number).cloned() {
                    self.carry_out(effect, carry);
                }
            }
            Move::Crash => self.crash(),
            Move::Mine => self.ledger.mine(),
            Move::MineEmpty => self.ledger.mine_empty(),
            Move::Stranger => self.ledger.mine_stranger(),
            Move::Reorganize(lost) => self.ledger.reorganize(lost),
            Move::ForgetPool => self.ledger.forget_pool(),
            Move::Wait(millis) => self.now += millis,
        }
        let faulty = !matches!(step, Move::Carry(_, Carry::Whole) | Move::Mine | Move::MineEmpty | Move::Wait(_));
        self.faults += u32::from(faulty);
    }

    pub fn carry_out(&mut self, effect: Effect, carry: Carry) {
        let event = match effect {
            Effect::Reconcile => Event::Reconciled(Standing {
                sequences: self.sequences(),
                genesis: "genesis".to_owned(),
                account: "account".to_owned(),
            }),
            Effect::Sign { intent, action, sequence, replaces, .. } => {
                let fee = FeePolicy::default().choose(MarketFee { base: 10, tip: 1 }, replaces).unwrap();
                Event::Signed { intent, transaction: self.ledger.sign(&action, sequence, fee) }
            }
            Effect::Broadcast { intent, transaction } => {
                let hash = transaction.hash.clone();
                let result = match carry {
                    Carry::NotSent => Err("not sent".to_owned()),
                    Carry::ReplyLost => {
                        self.arrive(intent, transaction);
                        Err("the reply was lost".to_owned())
                    }
                    Carry::Whole | Carry::ThenCrash => Ok(self.arrive(intent, transaction)),
                };
                Event::Broadcast { intent, hash, result }
            }
            Effect::Query { intent, transactions } => {
                let statuses: Vec<_> =
                    transactions.into_iter().map(|sent| (sent.hash.clone(), self.ledger.status(&sent))).collect();
                self.has_expired |= statuses.iter().any(|(_, status)| *status == TransactionStatus::Expired);
                Event::Observed { intent, statuses }
            }
        };
        if carry == Carry::ThenCrash {
            self.crash();
        } else {
            let now = self.now();
            self.outbox.apply(event, now, &self.policy).unwrap();
        }
    }

    fn sequences(&self) -> Option<Sequences> {
        let latest = self.ledger.sequence(Consistency::Latest)?;
        Some(Sequences { latest, finalized: self.ledger.sequence(Consistency::Final).unwrap() })
    }

    fn arrive(&mut self, intent: u64, transaction: SignedTransaction) -> Broadcast {
        let broadcast = self.ledger.broadcast(&transaction.bytes).unwrap();
        assert!(broadcast != Broadcast::Underpriced || self.ledger.pool_len() > 0);
        self.arrived.insert(transaction.hash.clone(), (intent, transaction));
        broadcast
    }

    /// What a kill leaves: the stored parts, read back.
    fn crash(&mut self) {
        let head: OutboxHead = read_back(self.outbox.head());
        let intents = self.outbox.intents().iter().map(|(number, intent)| (*number, read_back::<Intent>(intent)));
        self.outbox = Outbox::from_parts(head, intents.collect());
    }

    pub fn check(&self) {
        for (number, intent) in self.outbox.intents().iter().filter(|(_, intent)| intent.action != Action::Fill) {
            let landed = self.ledger.landed().filter(|landed| **landed == intent.action).count();
            assert!(landed <= 1, "intent {number} landed {landed} times");
            if let Some(outcome) = &intent.outcome {
                assert!(landed == 1 && outcome.succeeded, "intent {number} is done and landed {landed} times");
            }
            let sequences: HashSet<u64> = intent.attempts.iter().map(|attempt| attempt.transaction.sequence).collect();
            assert!(sequences.len() <= 1, "an intent's transactions share their sequence number");
        }
        if self.sequences().is_none() {
            self.check_that_no_two_can_land();
        }
    }

    /// Whatever the outbox remembers: of all that ever reached the chain, one transaction an intent can land or has.
    fn check_that_no_two_can_land(&self) {
        let mut alive = BTreeMap::<u64, usize>::new();
        for (intent, transaction) in self.arrived.values() {
            if self.ledger.status(transaction) != TransactionStatus::Expired {
                *alive.entry(*intent).or_default() += 1;
            }
        }
        assert!(alive.values().all(|count| *count <= 1), "two transactions of one intent can land: {alive:?}");
    }

    /// Nothing goes wrong any more: everything must come to its end.
    pub fn heal(mut self) {
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

    fn moves(&self, faults: &[Move], bounds: Bounds) -> Vec<Move> {
        let effects = self.effects().len();
        let mut moves = vec![Move::Mine];
        // Without sequence numbers nobody must take what waits.
        moves.extend(self.sequences().is_none().then_some(Move::MineEmpty));
        moves.extend((effects == 0).then_some(Move::Wait(POLICY.stuck_ms)));
        moves.extend((0..effects).map(|number| Move::Carry(number, Carry::Whole)));
        if self.faults < bounds.faults {
            moves.extend(faults);
            for number in 0..effects {
                moves.extend([Carry::ThenCrash, Carry::ReplyLost, Carry::NotSent].map(|c| Move::Carry(number, c)));
            }
        }
        moves
    }

    /// What tells two states apart for the exhaustive search.
    fn key(&self) -> u64 {
        let arrived: Vec<_> = self.arrived.keys().collect();
        let text = format!("{:?} {:?} {} {} {arrived:?}", self.outbox, self.ledger, self.now, self.faults);
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    }
}

pub fn action(number: u64) -> Action {
    // Equal sizes and roots would be one anchor; each intent anchors its own log.
    let mut point = point(1, 1);
    point.log_id = [number as u8; 32];
    Action::Anchor { contract: "contract".to_owned(), point }
}

fn read_back<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

/// How far an exhaustive search goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub faults: u32,
    pub blocks: u64,
    pub now: u64,
}

/// Tries every order of these moves, and of those that every world has, within the bounds. Returns how many states
/// there are, and in how many of those that came to their end a transaction had expired.
pub fn explore(first: World, faults: &[Move], bounds: Bounds) -> (usize, usize) {
    let mut seen = HashSet::from([first.key()]);
    let mut queue = vec![first];
    let (mut ends, mut expired) = (0, 0);
    while let Some(world) = queue.pop() {
        if world.outbox.is_settled() {
            ends += 1;
            expired += usize::from(world.has_expired);
            continue;
        }
        for step in world.moves(faults, bounds) {
            let mut next = world.clone();
            next.make(step);
            let is_within = next.ledger.head().block <= bounds.blocks && next.now <= bounds.now;
            if is_within && seen.insert(next.key()) {
                next.check();
                queue.push(next);
            }
        }
    }
    assert!(ends > 0, "some orders came to their end within the bounds");
    (seen.len(), expired)
}
