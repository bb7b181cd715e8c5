//! One intent of an outbox: its signed transactions, where they landed and how it ended. It never forgets a signed
//! transaction while that can land.

use serde::{Deserialize, Serialize};
use steward_types::Timestamp;
use steward_types::limits::{OUTBOX_DOUBLINGS_MAX, OUTBOX_REASON_CHARS_MAX};

use super::{OutboxPolicy, Settled, after};
use crate::chain::{Action, Amount, Broadcast, Inclusion, SignedTransaction, TransactionStatus};

/// What is to be done on the chain, once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intent {
    /// The idempotency key: submitting it again is one intent.
    pub key: String,
    /// What is to be done.
    pub action: Action,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// Its signed transactions, oldest first, all with one sequence number; at most one where the chain has none.
    pub attempts: Vec<Attempt>,
    /// Where it landed, as last seen.
    pub landing: Option<Landing>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// How often a stranger's transaction took its sequence number.
    pub displaced: u32,
    /// How often its transactions expired before one landed.
    #[serde(default)]
    pub expired: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When to act on it next; after a start at once.
    #[serde(skip)]
    pub(super) act_at: Timestamp,
    /// When a replacement may be tried again after one could not be signed.
    #[serde(skip)]
    pub(super) replace_at: Timestamp,
    /// How often in a row it could not be signed for its own sake; counted anew after a start.
    #[serde(skip)]
    pub(super) failures: u32,
    /// How often in a row no endpoint could tell what became of it.
    #[serde(skip)]
    pub(super) unseen: u32,
    /// Whether the chain was asked after the newest transaction since it was sent or since the start.
    #[serde(skip)]
    pub(super) is_asked: bool,
    /// Whether the chain answered the newest transaction, when it was last sent, that it does not take it.
    #[serde(skip)]
    pub(super) is_refused: bool,
    /// Since when nothing of it is signed, where something was before this start.
    #[serde(skip)]
    begun_again: Timestamp,
}

/// A signed transaction of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// What is sent, again and again the same.
    pub transaction: SignedTransaction,
    /// When it was signed.
    pub signed: Timestamp,
    /// Whether it was handed to the chain since it was last seen missing there.
    pub sent: bool,
    /// Whether it was ever handed to the chain.
    #[serde(default)]
    pub was_sent: bool,
}

/// Where one of an intent's transactions landed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Landing {
    /// The transaction's hash.
    pub hash: String,
    /// Its block.
    pub inclusion: Inclusion,
}

/// The final end of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the transaction did what it was to do; false when the contract refused it.
    pub succeeded: bool,
    /// The hash of the one transaction that landed.
    pub hash: String,
    /// The number of its block.
    pub block: u64,
    /// The address of the contract that it created.
    pub creates: Option<String>,
    /// What the chain took as its fee, in the smallest unit of the coin that fees are paid in.
    #[serde(default)]
    pub fee: Option<Amount>,
}

/// What an intent lost with its transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Their sequence number, to a stranger.
    Sequence,
    /// Only time: they expired.
    Time,
}

impl Intent {
    pub(super) const fn new(key: String, action: Action, now: Timestamp) -> Self {
        Self {
            key,
            action,
            submitted: now,
            attempts: Vec::new(),
            landing: None,
            outcome: None,
            displaced: 0,
            expired: 0,
            last_error: None,
            act_at: now,
            replace_at: now,
            failures: 0,
            unseen: 0,
            is_asked: false,
            is_refused: false,
            begun_again: Timestamp::EPOCH,
        }
    }

    /// Since when it waits to be signed, as far as this start knows: since it was submitted, or since what was signed of it
    /// could not land any more. Nothing while something is signed.
    pub fn unsigned_since(&self) -> Option<Timestamp> {
        self.attempts.is_empty().then(|| self.submitted.max(self.begun_again))
    }

    /// Whether the chain may have any of its transactions: one was handed to it.
    pub fn was_sent(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.was_sent || attempt.sent)
    }

    /// The sequence number that all its transactions use.
    pub fn sequence(&self) -> Option<u64> {
        self.attempts.first().map(|attempt| attempt.transaction.sequence)
    }

    /// What its transactions, of which one lands, may take of the chain's own coin.
    pub(super) fn most_taken(&self) -> Amount {
        let each = self.attempts.iter().map(|attempt| most_taken(&self.action, &attempt.transaction));
        each.max().unwrap_or(Amount::ZERO)
    }

    pub(super) fn newest(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// Nothing was signed. When that is this intent's own fault it is tried again later each time.
    pub(super) fn sign_failed(&mut self, reason: &str, is_own: bool, now: Timestamp, policy: &OutboxPolicy) {
        let wait_ms = if is_own { doubled(policy.retry_ms, self.failures) } else { policy.retry_ms };
        self.failures = if is_own { self.failures.saturating_add(1) } else { 0 };
        self.last_error = Some(shown(reason));
        self.replace_at = after(now, wait_ms);
        // A transaction in flight is asked after all the same.
        self.act_at = if self.attempts.is_empty() { self.replace_at } else { now };
    }

    /// Whatever the chain answered, the transaction may be there now: the next thing is to ask.
    pub(super) fn broadcast(
        &mut self,
        hash: &str,
        result: Result<Broadcast, String>,
        now: Timestamp,
        policy: &OutboxPolicy,
    ) {
        if let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.transaction.hash == hash) {
            (attempt.sent, attempt.was_sent) = (true, true);
        }
        self.is_asked = false;
        self.is_refused = matches!(result, Ok(Broadcast::Underpriced | Broadcast::Refused { .. }));
        let wait_ms = match &result {
            Ok(Broadcast::Accepted | Broadcast::SequenceUsed | Broadcast::Underpriced) => 0,
            Ok(Broadcast::Refused { .. }) | Err(_) => policy.poll_ms,
        };
        self.act_at = after(now, wait_ms);
        self.last_error = match result {
            Ok(Broadcast::Accepted | Broadcast::SequenceUsed) => None,
            Ok(Broadcast::Underpriced) => Some("another transaction with this sequence number offers more".to_owned()),
            Ok(Broadcast::Refused { reason }) | Err(reason) => Some(shown(&reason)),
        };
    }

    /// Nothing could be told of its transactions: they are asked after later each time, and nothing else is done.
    pub(super) fn unseen(&mut self, reason: &str, now: Timestamp, policy: &OutboxPolicy) {
        self.act_at = after(now, doubled(policy.poll_ms, self.unseen));
        self.unseen = self.unseen.saturating_add(1);
        self.last_error = Some(shown(reason));
    }

    /// Whether every recorded transaction is known, finally, never to land.
    pub(super) fn cannot_land(&self, statuses: &[(String, TransactionStatus)]) -> bool {
        let is_dead = |attempt: &Attempt| {
            statuses.iter().any(|(hash, status)| *hash == attempt.transaction.hash && is_death(status))
        };
        !self.attempts.is_empty() && self.attempts.iter().all(is_dead)
    }

    /// Gives up the recorded transactions, none of which can land, for one to be signed; says what was lost with them.
    pub(super) fn begin_again(&mut self, statuses: &[(String, TransactionStatus)], now: Timestamp) -> Loss {
        let sequence = self.sequence().unwrap_or_default();
        self.attempts.clear();
        self.begun_again = now;
        if statuses.iter().any(|(_, status)| matches!(status, TransactionStatus::Replaced { .. })) {
            self.displaced += 1;
            self.last_error = Some(format!("another transaction used the sequence number {sequence}"));
            Loss::Sequence
        } else {
            self.expired += 1;
            self.last_error = Some("it expired before it landed; it is signed again".to_owned());
            Loss::Time
        }
    }

    /// What is to be looked after of it, now that it is final there.
    pub(super) fn settled_at(&self, landing: &Landing, now: Timestamp) -> Option<Settled> {
        let landed = self.attempts.iter().find(|attempt| attempt.transaction.hash == landing.hash)?;
        Some(Settled { transaction: landed.transaction.clone(), block: landing.inclusion.block, at: now })
    }

    pub(super) fn outcome_at(&self, landing: Landing) -> Outcome {
        let landed = self.attempts.iter().find(|attempt| attempt.transaction.hash == landing.hash);
        Outcome {
            succeeded: landing.inclusion.succeeded,
            block: landing.inclusion.block,
            fee: landing.inclusion.fee,
            creates: landed.and_then(|attempt| attempt.transaction.creates.clone()),
            hash: landing.hash,
        }
    }
}

/// What a transaction may take of the chain's own coin: what it pays, and its fee.
pub fn most_taken(action: &Action, transaction: &SignedTransaction) -> Amount {
    let paid = match action {
        Action::Transfer { amount, asset: None, .. } | Action::Call { value: amount, .. } => *amount,
        Action::Transfer { .. }
        | Action::DeployReceiptLog
        | Action::Deploy { .. }
        | Action::Anchor { .. }
        | Action::Fill => Amount::ZERO,
    };
    paid.saturating_add(transaction.fee_max.unwrap_or(Amount::ZERO))
}

/// A wait that is twice as long each time, up to a bound.
fn doubled(wait_ms: u64, times: u32) -> u64 {
    wait_ms.saturating_mul(1 << times.min(OUTBOX_DOUBLINGS_MAX))
}

/// As much of a reason as is kept: a node may say anything, and an intent must fit its row.
pub(super) fn shown(reason: &str) -> String {
    reason.chars().take(OUTBOX_REASON_CHARS_MAX).collect()
}

pub(super) fn landing(statuses: &[(String, TransactionStatus)]) -> Option<Landing> {
    statuses.iter().find_map(|(hash, status)| match status {
        TransactionStatus::Included(inclusion) => Some(Landing { hash: hash.clone(), inclusion: inclusion.clone() }),
        _ => None,
    })
}

const fn is_death(status: &TransactionStatus) -> bool {
    matches!(status, TransactionStatus::Replaced { is_final: true } | TransactionStatus::Expired)
}

pub(super) fn is_unknown(attempt: Option<&Attempt>, statuses: &[(String, TransactionStatus)]) -> bool {
    attempt.is_some_and(|attempt| {
        statuses
            .iter()
            .any(|(hash, status)| *hash == attempt.transaction.hash && matches!(status, TransactionStatus::Unknown))
    })
}
