//! What the store holds of an order: bounded, whatever a session asks for.

use steward_adapters::chain::{Amount, SignedTransaction};
use steward_adapters::fee::Fee;
use steward_adapters::outbox::{Attempt, Event, Outbox};
use steward_storage::record;
use steward_types::limits::{
    CHAIN_CALL_INPUT_BYTES_MAX, OUTBOX_ATTEMPTS_MAX, OUTBOX_REASON_CHARS_MAX, VALUE_BYTES_MAX,
};

use super::*;
use crate::chain::orders::Order;
use crate::chain::records::IntentRecord;

/// What signing adds to the input at most: addresses, amounts, a public key and signatures.
const ENVELOPE_BYTES: usize = 1_000;

pub(super) fn order(number: u32, action: Action) -> Order {
    let session = SessionId::from_bytes([1; 16]);
    Order {
        id: OrderId { session, turn: 1, step: StepPath::top(number) },
        project: project("acme"),
        agent: "bot".parse().unwrap(),
        action,
        function: "call".to_owned(),
        arguments_hash: [255; 32],
        recorded: Timestamp::from_millis(5),
        hold: hold(number),
        held: Micros::new(1_000_000),
        call_price: Micros::new(1),
        fee_max: Amount::MAX,
        fee_price: FeePrice { micros: 2, per: Amount::MAX },
    }
}

#[test]
fn the_largest_order_fits_one_row_with_every_replacement() {
    let input = vec![255; CHAIN_CALL_INPUT_BYTES_MAX];
    let action = Action::Call { contract: "c".repeat(100), input: input.into(), value: Amount::MAX };
    let order = order(1, action.clone());
    let mut outbox = Outbox::default();
    let policy = OutboxPolicy::default();
    let key = order.id.to_string();
    outbox.apply(Event::Submitted { key: key.clone(), action }, Timestamp::EPOCH, &policy).unwrap();
    let reason = "\u{10ffff}".repeat(VALUE_BYTES_MAX);
    let failed = Event::SignFailed { intent: 0, reason, is_own: true };
    outbox.apply(failed, Timestamp::EPOCH, &policy).unwrap();
    let mut intent = outbox.intent(&key).unwrap().clone();
    assert_eq!(intent.last_error.as_ref().unwrap().chars().count(), OUTBOX_REASON_CHARS_MAX);
    let transaction = SignedTransaction {
        bytes: vec![255; CHAIN_CALL_INPUT_BYTES_MAX + ENVELOPE_BYTES].into(),
        hash: "f".repeat(100),
        sequence: u64::MAX,
        expires: Some(u64::MAX),
        fee: Fee { price: u64::MAX, tip: u64::MAX },
        fee_max: Some(Amount::MAX),
        deposit: Amount::MAX,
        creates: None,
    };
    let attempt = Attempt { transaction, signed: Timestamp::EPOCH, sent: true, was_sent: true };
    intent.attempts = vec![attempt; OUTBOX_ATTEMPTS_MAX];
    let row = record::encode(&IntentRecord { intent, anchor: None, order: Some(order) }).unwrap();
    assert!(row.len() <= VALUE_BYTES_MAX, "{} bytes", row.len());
}
