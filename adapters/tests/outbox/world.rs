//! A world for the outbox: a chain with two accounts, a process that is killed, and a network that loses what it carries.
//! It makes single moves, and says after each whether what the outbox promises still holds.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use steward_adapters::chain::{Action, Broadcast, Consistency, SignedTransaction, TransactionStatus};
use steward_adapters::conformance::point;
use steward_adapters::fee::{FeePolicy, MarketFee};
use steward_adapters::ledger::Ledger;
use steward_adapters::outbox::{Effect, Event, Intent, Outbox, OutboxHead, OutboxPolicy, Sequences, Standing};
use steward_types::Timestamp;

use crate::coverage::{Coverage, Kind, Phases};
use crate::moves::{Carry, Fault, Move};

/// The reason of every failure: what it says changes nothing, and must not make two states of one.
pub const FAILED: &str = "it failed";

pub const POLICY: OutboxPolicy =
    OutboxPolicy { poll_ms: 10, retry_ms: 10, stuck_ms: 100, watch_ms: 300, in_flight_max: 2 };

/// What each key offers beside the market's tip, and a price above what both offer at first, which outbidding reaches.
const TIPS: [u64; 2] = [1, 2];
pub const RAISED_PRICE: u64 = 23;

/// A transaction that reached the chain.
#[derive(Debug, Clone, Hash)]
struct Arrived {
    key: String,
    account: u8,
    transaction: SignedTransaction,
}

#[derive(Clone)]
pub struct World {
    pub outbox: Outbox,
    /// The chain as the account of the present key sees it.
    pub ledger: Ledger,
    /// The same chain, block by block, as the other key's account sees it.
    other: Ledger,
    /// Which of the two keys the process has.
    account: u8,
    policy: OutboxPolicy,
    pub now: u64,
    /// How many intents there may be, and which were submitted, withdrawn and acknowledged.
    pub wishes: u64,
    pub submitted: BTreeSet<u64>,
    pub withdrawn: BTreeSet<u64>,
    pub acknowledged: BTreeSet<u64>,
    /// What a carried-out effect gave, until it is recorded.
    pub under_way: Option<Event>,
    /// Whether the outbox knows where the chain stands.
    is_asked: bool,
    /// Every transaction that ever reached the chain, by hash.
    arrived: BTreeMap<String, Arrived>,
    /// Whose each signed transaction is, by hash.
    signed_by: BTreeMap<String, u8>,
    /// Whether a transaction ever expired, so that another was signed.
    pub has_expired: bool,
    /// What was reached since it was last taken.
    pub covered: Coverage,
}

impl World {
    /// A world whose chain has sequence numbers.
    pub fn new(intents: u64) -> Self {
        Self::on(Ledger::new(3), intents)
    }

    /// A world in which so many intents are submitted.
    pub fn on(ledger: Ledger, intents: u64) -> Self {
        let mut world = Self::wishing(ledger, intents);
        (0..intents).for_each(|number| world.make(Move::Submit(number)));
        world
    }

    /// A world in which so many intents may be submitted.
    pub fn wishing(ledger: Ledger, wishes: u64) -> Self {
        Self {
            outbox: Outbox::default(),
            other: ledger.clone(),
            ledger,
            account: 0,
            policy: POLICY,
            now: 0,
            wishes,
            submitted: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            under_way: None,
            is_asked: false,
            arrived: BTreeMap::new(),
            signed_by: BTreeMap::new(),
            has_expired: false,
            covered: Coverage::default(),
        }
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
            Move::Submit(number) => self.submit(number),
            Move::Withdraw(number) => self.withdraw(number),
            Move::Acknowledge(number) => self.acknowledge(number),
            Move::Carry(number, carry) => {
                self.begin(number, carry);
                self.finish();
            }
            Move::Begin(number, carry) => self.begin(number, carry),
            Move::Finish => self.finish(),
            Move::Crash => self.crash(Kind::Killed),
            Move::ChangeKey => self.change_key(),
            Move::Mine => self.on_chain(Ledger::mine),
            Move::MineEmpty => self.on_chain(Ledger::mine_empty),
            Move::Stranger => {
                self.ledger.mine_stranger();
                self.other.mine();
            }
            Move::Reorganize(lost) => self.on_chain(|ledger| ledger.reorganize(lost)),
            Move::ForgetPool => self.on_chain(Ledger::forget_pool),
            Move::RaisePrice => self.on_chain(|ledger| ledger.raise_price(RAISED_PRICE)),
            Move::Wait(millis) => self.now += millis,
        }
    }

    fn on_chain(&mut self, change: impl Fn(&mut Ledger)) {
        change(&mut self.ledger);
        change(&mut self.other);
    }

    fn submit(&mut self, number: u64) {
        self.submitted.insert(number);
        self.withdrawn.remove(&number);
        self.tell(Event::Submitted { key: key_of(number), action: action(number) });
    }

    fn withdraw(&mut self, number: u64) {
        self.tell(Event::Withdrawn { key: key_of(number) });
        if self.submitted.contains(&number) && self.outbox.intent(&key_of(number)).is_none() {
            self.withdrawn.insert(number);
        }
    }

    fn acknowledge(&mut self, number: u64) {
        let is_done = self.outbox.intent(&key_of(number)).is_some_and(|intent| intent.outcome.is_some());
        self.tell(Event::Acknowledged { key: key_of(number) });
        if is_done {
            self.acknowledged.insert(number);
        }
    }

    fn begin(&mut self, number: usize, carry: Carry) {
        if self.under_way.is_none()
            && let Some(effect) = self.effects().get(number).cloned()
        {
            self.under_way = Some(self.carried(effect, carry));
            if carry == Carry::ThenCrash {
                self.crash(Kind::Killed);
            }
        }
    }

    fn finish(&mut self) {
        if let Some(event) = self.under_way.take() {
            self.tell(event);
        }
    }

    /// Carries out an effect and records what it gave.
    pub fn carry_out(&mut self, effect: Effect) {
        let event = self.carried(effect, Carry::Whole);
        self.tell(event);
    }

    fn carried(&mut self, effect: Effect, carry: Carry) -> Event {
        match effect {
            Effect::Reconcile { settled } => Event::Reconciled(Standing {
                settled: settled.map(|settled| self.status(&settled.transaction)),
                sequences: sequences(&self.ledger),
                genesis: "genesis".to_owned(),
                account: format!("account {}", self.account),
            }),
            Effect::Sign { intent, action, sequence, replaces, .. } => {
                if let Carry::NotSigned(fault) = carry {
                    return Event::SignFailed { intent, reason: FAILED.to_owned(), is_own: fault == Fault::Own };
                }
                // Each key offers another tip, so that its transactions are other bytes.
                let market = MarketFee { base: 10, tip: TIPS[usize::from(self.account)] };
                let fee = FeePolicy::default().choose(market, replaces).unwrap();
                let transaction = self.ledger.sign(&action, sequence, fee);
                self.signed_by.insert(transaction.hash.clone(), self.account);
                Event::Signed { intent, transaction }
            }
            Effect::Broadcast { intent, transaction } if carry == Carry::AskedInstead => {
                let status = self.status(&transaction);
                self.has_expired |= status == TransactionStatus::Expired;
                Event::Observed { intent, statuses: vec![(transaction.hash, status)] }
            }
            Effect::Broadcast { intent, transaction } => {
                let hash = transaction.hash.clone();
                let result = match carry {
                    Carry::NotSent => Err(FAILED.to_owned()),
                    Carry::ReplyLost => {
                        self.arrive(intent, transaction);
                        Err(FAILED.to_owned())
                    }
                    Carry::Swallowed(answer) => Ok(answer.into()),
                    Carry::Whole | Carry::ThenCrash | Carry::NotSigned(_) | Carry::Untold | Carry::AskedInstead => {
                        Ok(self.arrive(intent, transaction))
                    }
                };
                Event::Broadcast { intent, hash, result }
            }
            Effect::Query { intent, .. } if carry == Carry::Untold => {
                Event::Unseen { intent, reason: FAILED.to_owned() }
            }
            Effect::Query { intent, transactions } => {
                let statuses: Vec<_> =
                    transactions.into_iter().map(|sent| (sent.hash.clone(), self.status(&sent))).collect();
                self.has_expired |= statuses.iter().any(|(_, status)| *status == TransactionStatus::Expired);
                Event::Observed { intent, statuses }
            }
        }
    }

    /// What an endpoint says of a transaction to a process with the present key: where it landed is seen whoever signed it;
    /// but that its number is used is told by the present key's account, as drivers do.
    fn status(&self, sent: &SignedTransaction) -> TransactionStatus {
        let own = self.account_ledger(self.signed_by[&sent.hash]).status(sent);
        match self.ledger.status(sent) {
            seen @ TransactionStatus::Replaced { .. } if !matches!(own, TransactionStatus::Included(_)) => seen,
            _ => own,
        }
    }

    fn account_ledger(&self, account: u8) -> &Ledger {
        if account == self.account { &self.ledger } else { &self.other }
    }

    fn arrive(&mut self, intent: u64, transaction: SignedTransaction) -> Broadcast {
        let account = self.signed_by[&transaction.hash];
        assert_eq!(account, self.account, "what another key signed is not sent with this one");
        let broadcast = self.ledger.broadcast(&transaction.bytes).unwrap();
        let key = self.outbox.intents()[&intent].key.clone();
        self.arrived.insert(transaction.hash.clone(), Arrived { key, account, transaction });
        broadcast
    }

    /// Tells the outbox what happened, and notes what that did.
    fn tell(&mut self, event: Event) {
        let before = Phases::of(&self.outbox, self.is_asked);
        let kind = Kind::of(&event, &self.outbox);
        let number_of = |key: &str| {
            let found = self.outbox.intents().iter().find(|(_, intent)| intent.key == key);
            found.map_or(self.outbox.head().next_intent, |(number, _)| *number)
        };
        let about = match &event {
            Event::Submitted { key, .. } | Event::Acknowledged { key } | Event::Withdrawn { key } => {
                Some(number_of(key))
            }
            Event::Signed { intent, .. } | Event::SignFailed { intent, .. } => Some(*intent),
            Event::Broadcast { intent, .. } | Event::Observed { intent, .. } | Event::Unseen { intent, .. } => {
                Some(*intent)
            }
            Event::Reconciled(_) => None,
        };
        let now = self.now();
        self.outbox.apply(event, now, &self.policy).unwrap();
        self.is_asked |= matches!(kind, Kind::Reconciled | Kind::ReconciledUncounted);
        self.covered.note(kind, about, &before, &Phases::of(&self.outbox, self.is_asked));
    }

    /// What a kill leaves: the stored parts, read back.
    fn crash(&mut self, kind: Kind) {
        let before = Phases::of(&self.outbox, self.is_asked);
        let head: OutboxHead = read_back(self.outbox.head());
        let intents = self.outbox.intents().iter().map(|(number, intent)| (*number, read_back::<Intent>(intent)));
        self.outbox = Outbox::from_parts(head, intents.collect());
        (self.under_way, self.is_asked) = (None, false);
        self.covered.note(kind, None, &before, &Phases::of(&self.outbox, false));
    }

    fn change_key(&mut self) {
        self.crash(Kind::KeyChanged);
        std::mem::swap(&mut self.ledger, &mut self.other);
        self.account = 1 - self.account;
    }

    pub fn check(&self) {
        if self.outbox.head().stall.is_some() {
            assert!(
                self.effects().iter().all(|effect| matches!(effect, Effect::Reconcile { .. })),
                "it is stalled, and acts"
            );
        }
        for number in 0..self.wishes {
            let (key, landed) = (key_of(number), self.landed(number));
            assert!(landed <= 1, "{key} landed {landed} times");
            let intent = self.outbox.intent(&key);
            if let Some(outcome) = intent.and_then(|intent| intent.outcome.as_ref()) {
                assert!(landed == 1 && outcome.succeeded, "{key} is done and landed {landed} times");
            }
            let is_forgotten = intent.is_none() && self.withdrawn.contains(&number);
            self.check_that_no_two_can_land(&key, is_forgotten);
        }
    }

    /// Whatever the outbox remembers: of all that ever reached the chain for a key, no two transactions can land both, and
    /// none when it was withdrawn.
    fn check_that_no_two_can_land(&self, key: &str, is_forgotten: bool) {
        let mut alive = Vec::new();
        for Arrived { account, transaction, .. } in self.arrived.values().filter(|arrived| arrived.key == key) {
            let status = self.account_ledger(*account).status(transaction);
            if !matches!(status, TransactionStatus::Expired | TransactionStatus::Replaced { is_final: true }) {
                alive.push((*account, transaction));
            }
        }
        assert!(alive.is_empty() || !is_forgotten, "{key} was withdrawn, and can land: {alive:?}");
        // One account's transactions with one sequence number shut each other out; where there are none, nothing does.
        let slots: HashSet<(u8, u64)> = alive.iter().map(|(account, sent)| (*account, sent.sequence)).collect();
        let can_land = if sequences(&self.ledger).is_some() { slots.len() } else { alive.len() };
        assert!(can_land <= 1, "{can_land} transactions of {key} can land: {alive:?}");
    }

    fn landed(&self, number: u64) -> usize {
        let action = action(number);
        self.ledger.landed().chain(self.other.landed()).filter(|landed| **landed == action).count()
    }

    /// Nothing goes wrong any more: everything must come to its end, and has landed once unless it was withdrawn.
    pub fn heal(mut self) {
        for _ in 0..200 {
            self.finish();
            if self.outbox.head().stall.is_some() {
                self.change_key();
            }
            for effect in self.effects() {
                self.carry_out(effect);
            }
            self.check();
            if self.outbox.is_settled() {
                for number in self.submitted.iter().copied() {
                    let expected = usize::from(!self.withdrawn.contains(&number));
                    assert_eq!(self.landed(number), expected, "{}", key_of(number));
                }
                return;
            }
            self.on_chain(Ledger::mine);
            self.now += POLICY.stuck_ms / 4;
        }
        panic!("not settled: {:#?}", self.outbox);
    }

    /// Whether everything that may be wanted was, and has ended.
    pub fn is_over(&self) -> bool {
        let is_over = |number| self.acknowledged.contains(&number) || self.withdrawn.contains(&number);
        (0..self.wishes).all(is_over)
    }

    /// What tells two states apart for the exhaustive search.
    pub fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.outbox, &self.ledger, &self.other, self.account, self.now).hash(&mut hasher);
        (&self.submitted, &self.withdrawn, &self.acknowledged, &self.under_way, self.is_asked).hash(&mut hasher);
        self.arrived.hash(&mut hasher);
        hasher.finish()
    }
}

pub fn sequences(ledger: &Ledger) -> Option<Sequences> {
    let latest = ledger.sequence(Consistency::Latest)?;
    Some(Sequences { latest, finalized: ledger.sequence(Consistency::Final).unwrap() })
}

fn key_of(number: u64) -> String {
    format!("intent {number}")
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
