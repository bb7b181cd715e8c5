//! A chain's outbox, for operators: each intent in a line.

use serde::{Deserialize, Serialize};
use steward_adapters::chain::Action;
use steward_adapters::outbox::{Intent, Stall};
use steward_types::Timestamp;
use steward_types::limits::{OUTBOX_REASON_CHARS_MAX, OUTBOX_SHOWN_MAX};

use super::entity::ChainActor;

/// What is in a chain's outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxView {
    /// The chain's CAIP-2 identifier.
    pub chain: String,
    /// The oldest intents.
    pub intents: Vec<IntentView>,
    /// How many there are in all.
    pub total: u64,
    /// The account's next sequence number as of the newest block that was last asked for.
    pub latest_sequence: u64,
    /// The account's next sequence number that was last seen final.
    pub final_sequence: u64,
    /// Why nothing is sent; nothing when that is not so.
    #[serde(default)]
    pub stall: Option<Stall>,
}

/// How far an intent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentState {
    /// Nothing is signed.
    Recorded,
    /// A transaction is signed and was not given to the chain, or the chain does not know it any more.
    Signed,
    /// The chain was given it.
    Sent,
    /// It is in a block that is not final.
    Included,
    /// It is on the chain for good, and did what it should.
    Landed,
    /// It is on the chain for good, and the chain refused what it should do.
    Refused,
}

impl std::fmt::Display for IntentState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Recorded => "recorded",
            Self::Signed => "signed",
            Self::Sent => "sent",
            Self::Included => "included",
            Self::Landed => "landed",
            Self::Refused => "refused",
        })
    }
}

/// Something that is to be done on a chain, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentView {
    /// Its number in the outbox.
    pub number: u64,
    /// Its idempotency key.
    pub key: String,
    /// What is to be done, in words.
    pub action: String,
    /// How far it is.
    pub state: IntentState,
    /// The sequence number of its transactions.
    pub sequence: Option<u64>,
    /// The newest transaction's hash, or that of the one which landed; empty until one is signed.
    pub transaction: String,
    /// The block that has it; 0 for none.
    pub block: u64,
    /// The price that the newest transaction offers; 0 until one is signed.
    pub price: u64,
    /// When it was recorded.
    pub recorded: Timestamp,
    /// Signed transactions of its present sequence number.
    pub tries: u32,
    /// How often others' transactions took its sequence number.
    pub displaced: u32,
    /// How often its transactions expired.
    pub expired: u32,
    /// What went wrong last; empty when nothing did.
    pub last_error: String,
}

impl ChainActor {
    pub(super) fn outbox(&self) -> OutboxView {
        let outbox = &self.desk.outbox;
        let shown = outbox.intents().iter().take(OUTBOX_SHOWN_MAX);
        OutboxView {
            chain: self.id.as_str().to_owned(),
            intents: shown.map(|(number, intent)| view(*number, intent)).collect(),
            total: outbox.intents().len() as u64,
            latest_sequence: outbox.head().latest_sequence,
            final_sequence: outbox.head().final_sequence,
            stall: outbox.head().stall.clone(),
        }
    }
}

fn view(number: u64, intent: &Intent) -> IntentView {
    let newest = intent.attempts.last();
    let state = match (&intent.outcome, &intent.landing, newest) {
        (Some(outcome), _, _) if outcome.succeeded => IntentState::Landed,
        (Some(_), _, _) => IntentState::Refused,
        (None, Some(_), _) => IntentState::Included,
        (None, None, Some(attempt)) if attempt.sent => IntentState::Sent,
        (None, None, Some(_)) => IntentState::Signed,
        (None, None, None) => IntentState::Recorded,
    };
    let landed = intent.landing.as_ref().map(|landing| landing.hash.clone());
    IntentView {
        number,
        key: intent.key.clone(),
        action: in_words(&intent.action),
        state,
        sequence: intent.sequence(),
        transaction: landed.or_else(|| newest.map(|attempt| attempt.transaction.hash.clone())).unwrap_or_default(),
        block: intent.landing.as_ref().map_or(0, |landing| landing.inclusion.block),
        price: newest.map_or(0, |attempt| attempt.transaction.fee.price),
        recorded: intent.submitted,
        tries: u32::try_from(intent.attempts.len()).unwrap_or(u32::MAX),
        displaced: intent.displaced,
        expired: intent.expired,
        last_error: intent.last_error.iter().flat_map(|reason| reason.chars()).take(OUTBOX_REASON_CHARS_MAX).collect(),
    }
}

fn in_words(action: &Action) -> String {
    match action {
        Action::DeployReceiptLog => "deploy the receipt log's contract".to_owned(),
        Action::Deploy { contract, .. } => format!("deploy {contract}"),
        Action::Anchor { point, .. } => format!("anchor {} leaves", point.tree_size),
        Action::Transfer { to, amount, asset: None } => format!("pay {amount} to {to}"),
        Action::Transfer { to, amount, asset: Some(asset) } => format!("pay {amount} of {asset} to {to}"),
        Action::Call { contract, value, .. } if value.units() == 0 => format!("call {contract}"),
        Action::Call { contract, value, .. } => format!("call {contract} with {value}"),
        Action::Fill => "use up a sequence number".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use steward_adapters::chain::Amount;

    use super::*;

    #[test]
    fn an_action_is_said_in_words() {
        let pay = |asset: Option<&str>| Action::Transfer {
            to: "0xabc".to_owned(),
            amount: Amount::new(5),
            asset: asset.map(str::to_owned),
        };
        let call = |value| Action::Call { contract: "0xc".to_owned(), input: [1].to_vec().into(), value };
        for (action, words) in [
            (pay(None), "pay 5 to 0xabc"),
            (pay(Some("0xt")), "pay 5 of 0xt to 0xabc"),
            (call(Amount::ZERO), "call 0xc"),
            (call(Amount::new(7)), "call 0xc with 7"),
            (Action::Fill, "use up a sequence number"),
        ] {
            assert_eq!(in_words(&action), words);
        }
    }
}
