//! `steward top`: what every node does, frame by frame.

use std::io::IsTerminal as _;
use std::time::Duration;

use steward_api::proto::v1;
use steward_types::{Clock as _, SystemClock};

use super::{Session, tell_missing};
use crate::args::Top;

/// Runs `top` until its frames are shown; in a terminal until it is interrupted.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Top, session: &Session) -> anyhow::Result<()> {
    let (output, clock) = (session.output, SystemClock::new());
    let live = std::io::stdout().is_terminal() && !output.is_json();
    let frames = command.frames.or((!live).then_some(1));
    let every = Duration::from_secs_f64(command.every);
    let mut before = look(session).await?;
    let mut shown = 0;
    while frames.is_none_or(|frames| shown < frames) {
        clock.sleep(every).await;
        let now = look(session).await?;
        if live {
            output.clear();
        }
        show(session, &before, &now)?;
        before = now;
        shown += 1;
    }
    Ok(())
}

async fn look(session: &Session) -> anyhow::Result<v1::NodesResponse> {
    Ok(session.client.operations().nodes(v1::NodesRequest {}).await?.into_inner())
}

/// How much a counter grows a second between two reports.
struct Rates {
    turns: f64,
    tokens: f64,
    commits: f64,
}

impl Rates {
    fn between(before: &v1::NodeReport, now: &v1::NodeReport) -> Self {
        let at = |report: &v1::NodeReport| report.now.as_ref().map(super::sessions::to_timestamp).unwrap_or_default();
        let seconds = at(now).saturating_since(at(before)).as_secs_f64();
        // A node that has started again counts from zero.
        let rate =
            |before: u64, now: u64| if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 };
        Self {
            turns: rate(before.turns, now.turns),
            tokens: rate(before.tokens, now.tokens),
            commits: rate(before.commits, now.commits),
        }
    }
}

fn show(session: &Session, before: &v1::NodesResponse, now: &v1::NodesResponse) -> anyhow::Result<()> {
    let output = session.output;
    let mut rows = Vec::new();
    for node in &now.nodes {
        let earlier = before.nodes.iter().find(|earlier| earlier.id == node.id).and_then(|node| node.report.as_ref());
        let (Some(report), Some(earlier)) = (&node.report, earlier) else {
            rows.push([vec![node.id.clone(), node.state.clone()], vec!["-".to_owned(); 8]].concat());
            continue;
        };
        let rates = Rates::between(earlier, report);
        if output.is_json() {
            let value = serde_json::json!({
                "node": node.id,
                "state": node.state,
                "turns_in_flight": report.turns_in_flight,
                "turns_per_second": rates.turns,
                "tokens_per_second": rates.tokens,
                "commits_per_second": rates.commits,
                "live": live(report),
                "mailbox": mailbox(report),
            });
            output.line(value.to_string());
            continue;
        }
        let rate = |rate: f64| format!("{rate:.1}");
        let sessions = report.kinds.iter().find(|kind| kind.kind == "session").map_or(0, |kind| kind.live);
        rows.push(vec![
            node.id.clone(),
            node.state.clone(),
            node.shards.to_string(),
            live(report).to_string(),
            sessions.to_string(),
            mailbox(report).to_string(),
            report.turns_in_flight.to_string(),
            rate(rates.turns),
            rate(rates.tokens),
            rate(rates.commits),
        ]);
    }
    if !output.is_json() {
        let heading =
            ["node", "state", "shards", "actors", "sessions", "mailbox", "turns", "turns/s", "tokens/s", "commits/s"];
        output.table(&heading, rows, "no node");
    }
    tell_missing(output, &now.missing);
    Ok(())
}

fn live(report: &v1::NodeReport) -> u64 {
    report.kinds.iter().map(|kind| kind.live).sum()
}

fn mailbox(report: &v1::NodeReport) -> u64 {
    report.kinds.iter().map(|kind| kind.mailbox).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_nodes_own_time_and_never_negative() {
        let report = |seconds, tokens| v1::NodeReport {
            now: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            tokens,
            ..Default::default()
        };
        let tokens = |before, now| Rates::between(&before, &now).tokens;
        assert_eq!(tokens(report(10, 100), report(12, 150)), 25.0);
        assert_eq!(tokens(report(10, 100), report(12, 5)), 0.0);
        assert_eq!(tokens(report(10, 100), report(10, 200)), 0.0);
    }
}
