//! `steward outbox`: what waits to be sent to chains, or is not final.

use steward_api::proto::v1;
use steward_types::{Clock as _, SystemClock, Timestamp};

use super::chains::tell_trouble;
use super::{Session, sessions};
use crate::args::Outbox;
use crate::output::Tone;

/// How much of a transaction's hash is shown in a table.
const HASH_CHARS: usize = 18;

/// Runs `outbox`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Outbox, session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let request = v1::OutboxRequest { chain: command.chain.unwrap_or_default() };
    let outboxes = session.client.chains().outbox(request).await?.into_inner().outboxes;
    if output.is_json() {
        return outboxes.iter().try_for_each(|outbox| output.message("Outbox", outbox));
    }
    let now = SystemClock::new().now();
    let row = |outbox: &v1::Outbox, intent: &v1::Intent| {
        vec![
            outbox.chain.clone(),
            intent.key.clone(),
            intent.action.clone(),
            intent.state.clone(),
            intent.sequence.map(|sequence| sequence.to_string()).unwrap_or_default(),
            shortened(&intent.transaction),
            if intent.price == 0 { String::new() } else { intent.price.to_string() },
            age(intent, now),
            tries(intent),
        ]
    };
    let rows = outboxes.iter().flat_map(|outbox| outbox.intents.iter().map(move |intent| row(outbox, intent)));
    let heading = ["chain", "key", "what", "state", "sequence", "transaction", "price", "age", "tries"];
    output.table(&heading, rows.collect(), "nothing waits to be sent, and everything sent is final");
    for outbox in &outboxes {
        for intent in outbox.intents.iter().filter(|intent| !intent.last_error.is_empty()) {
            let text = format!("{}: {}: {}", outbox.chain, intent.key, intent.last_error);
            output.line(output.paint(Tone::Warning, text));
        }
        let left = outbox.total.saturating_sub(outbox.intents.len() as u64);
        if left > 0 {
            output.line(format!("{}: and {left} more", outbox.chain));
        }
        tell_trouble(output, &outbox.chain, outbox.stall.as_ref(), &outbox.failure);
    }
    Ok(())
}

fn shortened(hash: &str) -> String {
    match hash.char_indices().nth(HASH_CHARS) {
        Some((end, _)) => format!("{}…", &hash[..end]),
        None => hash.to_owned(),
    }
}

fn age(intent: &v1::Intent, now: Timestamp) -> String {
    let recorded = intent.recorded_at.as_ref().map(sessions::to_timestamp);
    let seconds = recorded.map_or(0, |recorded| now.saturating_since(recorded).as_secs());
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// How often it was signed, and what became of the earlier ones.
fn tries(intent: &v1::Intent) -> String {
    let lost = [(intent.displaced, "displaced"), (intent.expired, "expired")];
    let lost = lost.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    std::iter::once(intent.tries.to_string()).chain(lost).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_is_told_in_columns() {
        let recorded_at = Some(prost_types::Timestamp { seconds: 1_000, nanos: 0 });
        let intent = v1::Intent { recorded_at, tries: 2, expired: 1, ..Default::default() };
        let at = |seconds: u64| age(&intent, Timestamp::from_millis(seconds * 1_000));
        assert_eq!([at(1_000), at(1_119), at(1_120), at(9_000)], ["0 s", "119 s", "2 min", "2 h"]);
        assert_eq!(tries(&intent), "2, 1 expired");
        assert_eq!(shortened("0x1234567890abcdef1234"), "0x1234567890abcdef…");
        assert_eq!(shortened("0x12"), "0x12");
    }
}
