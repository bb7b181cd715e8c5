//! The outbox of one account on one chain: a pure state machine that turns intents into transactions that land once.
//!
//! An event goes in, the state is stored, and [`Outbox::next`] says what may be done to the world now. Whoever drives
//! it stores the state after every event and before the next effect. What holds then, whenever it is killed:
//!
//! - An intent's transactions are recorded before they are sent, and all of them use one sequence number, so that the
//!   chain itself lets at most one land. Where the chain has no sequence numbers, there is only one of them.
//! - An intent's transactions are given up for others only when none of them can land any more: a stranger's
//!   transaction took their sequence number, or the last block that could have had them has passed, and that is final.
//! - After a start, or a while with nothing to do, nothing is sent before the chain has been asked where it stands. While
//!   it is not where it was, nothing is sent at all.

mod event;
mod intent;
mod next;
mod policy;
mod settled;
mod stall;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::{Timestamp, limits};

pub use self::event::{Effect, Event, LookedAfter, OutboxError, Sequences, Standing};
pub use self::intent::{Attempt, Intent, Landing, Outcome, most_taken};
use self::intent::{Loss, is_unknown, landing};
pub use self::policy::OutboxPolicy;
pub use self::settled::Settled;
pub use self::stall::{Since, Stall};
use crate::chain::{Action, SignedTransaction, TransactionStatus};

/// Everything that must survive: the head, and the intents one by one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Outbox {
    head: OutboxHead,
    intents: BTreeMap<u64, Intent>,
    /// Who numbers the transactions; known once the chain was asked where it stands. Never stored.
    numbering: Option<Numbering>,
    /// When to ask the chain again where it stands; never stored.
    reconcile_at: Timestamp,
}

/// The part of the outbox that is not about one intent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct OutboxHead {
    /// The number of the next intent.
    pub next_intent: u64,
    /// The account's next sequence number as of the newest block that was last asked for. Numbers from here on that
    /// no intent has are free.
    pub latest_sequence: u64,
    /// The account's sequence number that was last seen final. It never goes back, or the chain was reset.
    pub final_sequence: u64,
    /// The hash of the chain's first block.
    pub genesis: Option<String>,
    /// The account whose sequence numbers these are. Another one's count anew, once nothing of this one is unfinished.
    #[serde(default)]
    pub account: Option<String>,
    /// Why nothing is sent, when the chain is not the one that this outbox knows.
    #[serde(default)]
    pub stall: Option<Stall>,
    /// The newest transaction that became final, while it is looked after.
    #[serde(default)]
    pub settled: Option<Settled>,
}

/// Who numbers an account's transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Numbering {
    /// The chain, which takes one transaction of each number.
    Chain,
    /// This outbox, so that no two intents' transactions are the same. The chain takes each until it expires.
    Outbox,
}

impl Outbox {
    /// An outbox from its stored parts. It will ask the chain where it stands before it sends anything.
    pub fn from_parts(head: OutboxHead, intents: BTreeMap<u64, Intent>) -> Self {
        Self { head, intents, numbering: None, reconcile_at: Timestamp::EPOCH }
    }

    /// The part that is not about one intent.
    pub const fn head(&self) -> &OutboxHead {
        &self.head
    }

    /// The intents by number, oldest first: the unfinished and those whose outcome was not acknowledged.
    pub const fn intents(&self) -> &BTreeMap<u64, Intent> {
        &self.intents
    }

    /// The intent of this key.
    pub fn intent(&self, key: &str) -> Option<&Intent> {
        self.intents.values().find(|intent| intent.key == key)
    }

    /// Whether anything is left to do.
    pub fn is_settled(&self) -> bool {
        self.intents.values().all(|intent| intent.outcome.is_some())
    }

    /// Takes in what happened at `now`.
    ///
    /// # Errors
    /// [`OutboxError`]; the state is unchanged then.
    pub fn apply(&mut self, event: Event, now: Timestamp, policy: &OutboxPolicy) -> Result<(), OutboxError> {
        match event {
            Event::Submitted { key, action } => self.submit(key, action, now),
            Event::Reconciled(standing) => {
                self.reconcile(standing, now, policy);
                Ok(())
            }
            Event::Signed { intent, transaction } => self.signed(intent, transaction, now),
            Event::SignFailed { intent, reason, is_own } => {
                if let Some(intent) = self.find(intent)? {
                    intent.sign_failed(&reason, is_own, now, policy);
                }
                Ok(())
            }
            Event::Broadcast { intent, hash, result } => {
                if let Some(intent) = self.find(intent)? {
                    intent.broadcast(&hash, result, now, policy);
                }
                Ok(())
            }
            Event::Observed { intent, statuses } => self.observed(intent, &statuses, now, policy),
            Event::Unseen { intent, reason } => {
                if let Some(intent) = self.find(intent)? {
                    intent.unseen(&reason, now, policy);
                }
                Ok(())
            }
            Event::Acknowledged { key } => {
                self.intents.retain(|_, intent| intent.key != key || intent.outcome.is_none());
                Ok(())
            }
            Event::Withdrawn { key } => {
                self.intents.retain(|_, intent| intent.key != key || !intent.attempts.is_empty());
                Ok(())
            }
        }
    }

    fn looks_after(&self, now: Timestamp, policy: &OutboxPolicy) -> bool {
        self.head.settled.as_ref().is_some_and(|settled| now <= settled.until(policy))
    }

    fn submit(&mut self, key: String, action: Action, now: Timestamp) -> Result<(), OutboxError> {
        if self.intent(&key).is_some() {
            return Ok(());
        }
        if self.intents.len() >= limits::OUTBOX_INTENTS_MAX {
            return Err(OutboxError::Full(limits::OUTBOX_INTENTS_MAX));
        }
        self.insert(key, action, now);
        Ok(())
    }

    fn insert(&mut self, key: String, action: Action, now: Timestamp) {
        self.intents.insert(self.head.next_intent, Intent::new(key, action, now));
        self.head.next_intent += 1;
    }

    fn reconcile(&mut self, standing: Standing, now: Timestamp, policy: &OutboxPolicy) {
        let known = self.head.genesis.get_or_insert_with(|| standing.genesis.clone()).clone();
        self.head.stall = if known != standing.genesis {
            Some(Stall::ChainReset { known, found: standing.genesis })
        } else if let Some(known) = self.other_account(&standing.account) {
            Some(Stall::OtherAccount { known, found: standing.account })
        } else {
            let found = standing.sequences.map(|sequences| sequences.finalized);
            let (known, found) = (self.head.final_sequence, found.unwrap_or(self.head.final_sequence));
            let undone = standing.settled.as_ref().and_then(|status| self.undone(status, now, policy));
            undone.or_else(|| (found < known).then_some(Stall::SequenceWentBack { known, found }))
        };
        if self.head.stall.is_some() {
            // Whatever was known of its numbers is not this chain's: nothing is done until it is the old one again.
            self.numbering = None;
            self.reconcile_at = after(now, policy.retry_ms);
            return;
        }
        self.numbering = Some(match standing.sequences {
            Some(Sequences { latest, finalized }) => {
                (self.head.latest_sequence, self.head.final_sequence) = (latest.max(finalized), finalized);
                Numbering::Chain
            }
            None => Numbering::Outbox,
        });
        self.reconcile_at = after(now, policy.stuck_ms);
        if !self.looks_after(now, policy) {
            self.head.settled = None;
        }
        self.fill_gap(now);
    }

    /// That the transaction which is looked after is not final any more. What another took for good is lost, and said for as
    /// long as it is looked after; anything else until it is final again.
    fn undone(&self, status: &TransactionStatus, now: Timestamp, policy: &OutboxPolicy) -> Option<Stall> {
        let is_lost = matches!(status, TransactionStatus::Replaced { is_final: true });
        let is_said = !is_lost || self.looks_after(now, policy);
        self.head.settled.as_ref().filter(|_| is_said).and_then(|settled| settled.undone(status))
    }

    /// The account before this one, when it has transactions that may still land. Otherwise this one takes its place.
    fn other_account(&mut self, account: &str) -> Option<String> {
        let old = self.head.account.clone().filter(|old| old != account);
        if old.is_some() {
            if self.intents.values().any(|intent| !intent.attempts.is_empty()) {
                return old;
            }
            (self.head.latest_sequence, self.head.final_sequence) = (0, 0);
            self.head.settled = None;
        }
        self.head.account = Some(account.to_owned());
        None
    }

    /// When every intent is signed and the number that the chain waits for is nobody's, nothing could ever land: a
    /// stranger's transaction had it and was reorganised out. Something that does nothing takes its place.
    fn fill_gap(&mut self, now: Timestamp) {
        if self.has_gap() && self.waiting().next().is_none() {
            let free = self.next_sequence();
            let number = self.head.next_intent;
            self.insert(format!("fill {free} ({number})"), Action::Fill, now);
        }
    }

    /// Whether a signed transaction waits for a sequence number that nobody has.
    fn has_gap(&self) -> bool {
        let free = self.next_sequence();
        let waits = |intent: &Intent| intent.sequence() > Some(free);
        self.numbering == Some(Numbering::Chain) && self.in_flight().any(|(_, intent)| waits(intent))
    }

    /// The smallest sequence number that the chain still takes and no intent has.
    fn next_sequence(&self) -> u64 {
        let taken: BTreeSet<u64> = self.intents.values().filter_map(Intent::sequence).collect();
        let mut sequence = self.head.latest_sequence;
        while taken.contains(&sequence) {
            sequence += 1;
        }
        sequence
    }

    fn signed(&mut self, number: u64, transaction: SignedTransaction, now: Timestamp) -> Result<(), OutboxError> {
        let (numbering, next_sequence) = (self.numbering, self.next_sequence());
        let Some(intent) = self.find(number)? else { return Ok(()) };
        let expected = match numbering {
            Some(Numbering::Chain) => intent.sequence().unwrap_or(next_sequence),
            Some(Numbering::Outbox) if intent.attempts.is_empty() && transaction.expires.is_some() => number,
            _ => return Err(OutboxError::MayLandTwice(number)),
        };
        if transaction.sequence != expected {
            return Err(OutboxError::Sequence { intent: number, expected, found: transaction.sequence });
        }
        intent.attempts.push(Attempt { transaction, signed: now, sent: false, was_sent: false });
        intent.act_at = now;
        (intent.is_asked, intent.is_refused) = (false, false);
        intent.failures = 0;
        Ok(())
    }

    fn observed(
        &mut self,
        number: u64,
        statuses: &[(String, TransactionStatus)],
        now: Timestamp,
        policy: &OutboxPolicy,
    ) -> Result<(), OutboxError> {
        let Some(intent) = self.find(number)? else { return Ok(()) };
        let Some(sequence) = intent.sequence() else { return Ok(()) };
        intent.act_at = after(now, policy.poll_ms);
        intent.is_asked = true;
        intent.unseen = 0;
        if intent.outcome.is_some() {
            return Ok(());
        }
        intent.landing = landing(statuses);
        if let Some(landing) = intent.landing.clone() {
            if landing.inclusion.is_final {
                let settled = intent.settled_at(&landing, now);
                intent.outcome = Some(intent.outcome_at(landing));
                self.settle(settled);
                self.used_up(sequence);
            }
        } else if intent.cannot_land(statuses) {
            if intent.begin_again(statuses, now) == Loss::Sequence {
                self.used_up(sequence);
            }
        } else if is_unknown(intent.newest(), statuses)
            && let Some(newest) = intent.attempts.last_mut()
        {
            newest.sent = false;
        }
        Ok(())
    }

    /// The newest final transaction is looked after for a while, where reorganisations could undo it after all.
    fn settle(&mut self, settled: Option<Settled>) {
        let is_newer = |settled: &Settled| {
            let sequence = |settled: &Settled| settled.transaction.sequence;
            self.head.settled.as_ref().is_none_or(|before| sequence(before) < sequence(settled))
        };
        if self.numbering == Some(Numbering::Chain)
            && let Some(settled) = settled.filter(is_newer)
        {
            self.head.settled = Some(settled);
        }
    }

    /// A sequence number is used up for good. What filled a gap has done its work then.
    fn used_up(&mut self, sequence: u64) {
        if self.numbering == Some(Numbering::Outbox) {
            return;
        }
        self.head.final_sequence = self.head.final_sequence.max(sequence + 1);
        self.head.latest_sequence = self.head.latest_sequence.max(sequence + 1);
        let final_sequence = self.head.final_sequence;
        self.intents.retain(|_, intent| {
            let is_needed = intent.outcome.is_none() && !intent.attempts.is_empty();
            intent.action != Action::Fill || (is_needed && intent.sequence() >= Some(final_sequence))
        });
    }

    fn in_flight(&self) -> impl Iterator<Item = (u64, &Intent)> {
        self.unfinished().filter(|(_, intent)| !intent.attempts.is_empty())
    }

    fn waiting(&self) -> impl Iterator<Item = (u64, &Intent)> {
        self.unfinished().filter(|(_, intent)| intent.attempts.is_empty())
    }

    fn unfinished(&self) -> impl Iterator<Item = (u64, &Intent)> {
        self.intents.iter().map(|(number, intent)| (*number, intent)).filter(|(_, intent)| intent.outcome.is_none())
    }

    /// The intent that an event is about; nothing when it is gone since.
    fn find(&mut self, number: u64) -> Result<Option<&mut Intent>, OutboxError> {
        if number >= self.head.next_intent {
            return Err(OutboxError::NoIntent(number));
        }
        Ok(self.intents.get_mut(&number))
    }
}

fn after(time: Timestamp, millis: u64) -> Timestamp {
    time.saturating_add(Duration::from_millis(millis))
}
