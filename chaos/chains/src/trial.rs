//! A trial: payments and anchors in equal numbers, through endpoints that break in every way, by an outbox that is
//! killed before and after each kind of step. It goes on until all were made and everything has gone wrong that can.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use steward_adapters::chain::Action;
use steward_adapters::outbox::{Effect, Intent, Outcome};
use steward_types::{Entropy as _, SeededEntropy};

use crate::fault::Fault;
use crate::proxy::{Proxy, Rules};
use crate::sender::{Sender, When};

/// One moment in so many around an effect is the last of its process.
const KILL_ONE_IN: u64 = 64;
/// After so many rounds another endpoint is the liar.
const ROUNDS_A_LIAR: u64 = 20;
/// So many rounds an intent are enough for each to end.
const ROUNDS_AN_INTENT_MAX: u64 = 400;
/// The kinds of steps around which a process can be killed.
const STEPS: [&str; 4] = ["reconcile", "sign", "broadcast", "query"];

/// How many payments a trial makes, and how many anchors: `STEWARD_CHAIN_INTENTS` where somebody has the time for more
/// than these few.
///
/// # Panics
/// When that is no number.
pub fn intents(few: u64) -> u64 {
    std::env::var("STEWARD_CHAIN_INTENTS")
        .map_or(few, |text| text.parse().expect("STEWARD_CHAIN_INTENTS is a whole number"))
}

/// What is sent: for each number a payment and an anchor.
pub struct Work<'a> {
    /// A payment of this number.
    pub payment: &'a dyn Fn(u64) -> Action,
    /// An anchor of this number.
    pub anchor: &'a dyn Fn(u64) -> Action,
}

/// A trial under way.
pub struct Trial<'a> {
    sender: Sender<'a>,
    proxies: &'a [Proxy],
    work: Work<'a>,
    all: u64,
    permille: u64,
    dice: SeededEntropy,
    submitted: u64,
    rounds: u64,
    kills: BTreeMap<(&'static str, When), u64>,
    landed: BTreeMap<String, Outcome>,
    hashes: BTreeSet<String>,
    fills: BTreeSet<String>,
}

impl<'a> Trial<'a> {
    /// At least `all` payments and as many anchors, of whose calls so many in a thousand are broken.
    pub fn new(sender: Sender<'a>, proxies: &'a [Proxy], work: Work<'a>, all: u64, permille: u64) -> Self {
        Self {
            sender,
            proxies,
            work,
            all,
            permille,
            dice: SeededEntropy::new(7),
            submitted: 0,
            rounds: 0,
            kills: BTreeMap::new(),
            landed: BTreeMap::new(),
            hashes: BTreeSet::new(),
            fills: BTreeSet::new(),
        }
    }

    /// Submits more, carries out what is due, breaks and kills. Between two rounds the chain goes on.
    ///
    /// # Panics
    /// When an intent failed, two have one transaction, or it does not end.
    pub async fn round(&mut self) {
        self.submit_more();
        self.break_endpoints();
        self.advance().await;
        self.acknowledge();
        self.rounds += 1;
        let rounds_max = ROUNDS_AN_INTENT_MAX * (2 * self.submitted + 10);
        assert!(self.rounds < rounds_max, "it does not end: {:#?}", self.sender.outbox);
    }

    /// Whether all is done, and everything went wrong on the way that can.
    pub fn is_done(&self) -> bool {
        self.submitted >= self.all && self.sender.outbox.intents().is_empty() && self.has_seen_everything()
    }

    /// How many payments there were, and as many anchors.
    pub const fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Rounds so far.
    pub const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// How the payment of a number ended.
    ///
    /// # Panics
    /// When it has not.
    pub fn payment(&self, number: u64) -> &Outcome {
        &self.landed[&format!("payment {number}")]
    }

    /// How the anchor of a number ended.
    ///
    /// # Panics
    /// When it has not.
    pub fn anchor(&self, number: u64) -> &Outcome {
        &self.landed[&format!("anchor {number}")]
    }

    /// How many transactions that do nothing took the place of missing ones.
    pub fn fills(&self) -> usize {
        self.fills.len()
    }

    /// The outbox, to go on with once the trial is over. The endpoints are whole again.
    pub fn into_sender(self) -> Sender<'a> {
        for proxy in self.proxies {
            proxy.always(None);
        }
        self.sender
    }

    fn submit_more(&mut self) {
        let waiting_max = 3 * self.sender.policy().in_flight_max / 2;
        while self.sender.outbox.intents().len() < waiting_max
            && (self.submitted < self.all || !self.has_seen_everything())
        {
            let number = self.submitted;
            self.sender.submit(&format!("payment {number}"), (self.work.payment)(number));
            self.sender.submit(&format!("anchor {number}"), (self.work.anchor)(number));
            self.submitted += 1;
        }
    }

    /// Every fault, but never two liars at once: two of three must be believed.
    fn break_endpoints(&self) {
        let liar = self.rounds / ROUNDS_A_LIAR % self.proxies.len() as u64;
        for (number, proxy) in (0..).zip(self.proxies) {
            let sometimes = if number == liar { Fault::ALL.to_vec() } else { Fault::honest() };
            proxy.rule(Rules { always: None, sometimes, permille: self.permille });
        }
    }

    async fn advance(&mut self) {
        for effect in self.sender.effects() {
            let step = step(&effect);
            if self.is_killed(step, When::Before) {
                return self.sender.die();
            }
            if self.is_killed(step, When::After) {
                return self.sender.carry_and_die(effect).await;
            }
            self.sender.carry(effect).await;
        }
        self.sender.wait().await;
    }

    /// The first time for certain, later by chance.
    fn is_killed(&mut self, step: &'static str, when: When) -> bool {
        let kills = self.kills.entry((step, when)).or_insert(0);
        let is_killed = *kills == 0 || self.dice.next_u64().is_multiple_of(KILL_ONE_IN);
        *kills += u64::from(is_killed);
        is_killed
    }

    fn acknowledge(&mut self) {
        let intents = self.sender.outbox.intents().values();
        let fills = intents.clone().filter(|intent| intent.action == Action::Fill && !intent.attempts.is_empty());
        self.fills.extend(fills.map(|intent| intent.key.clone()));
        let finished = |intent: &Intent| Some((intent.key.clone(), intent.outcome.clone()?));
        for (key, outcome) in intents.filter_map(finished).collect::<Vec<_>>() {
            assert!(outcome.succeeded, "{key} failed: {outcome:?}");
            assert!(self.hashes.insert(outcome.hash.clone()), "{key} has another's transaction");
            self.sender.acknowledge(&key);
            self.landed.insert(key, outcome);
        }
    }

    fn has_seen_everything(&self) -> bool {
        let moments = STEPS.iter().flat_map(|step| When::BOTH.map(|when| (*step, when)));
        let has_killed = |moment| self.kills.get(&moment).is_some_and(|kills| *kills > 0);
        let fired = self.fired();
        moments.into_iter().all(has_killed) && Fault::ALL.iter().all(|fault| fired.contains_key(fault))
    }

    fn fired(&self) -> BTreeMap<Fault, u64> {
        let mut fired = BTreeMap::new();
        for (fault, count) in self.proxies.iter().flat_map(Proxy::fired) {
            *fired.entry(fault).or_insert(0) += count;
        }
        fired
    }
}

impl fmt::Display for Trial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fired, kills) = (self.fired(), self.kills.values().sum::<u64>());
        write!(
            f,
            "{n} anchors and {n} payments, each once, in {} rounds; {} faults {fired:?}; {kills} kills {:?}; {} gaps filled",
            self.rounds,
            fired.values().sum::<u64>(),
            self.kills,
            self.fills.len(),
            n = self.submitted,
        )
    }
}

const fn step(effect: &Effect) -> &'static str {
    match effect {
        Effect::Reconcile { .. } => STEPS[0],
        Effect::Sign { .. } => STEPS[1],
        Effect::Broadcast { .. } => STEPS[2],
        Effect::Query { .. } => STEPS[3],
    }
}
