//! `steward trace`: everything known of a session, turn, step or receipt, in the order of time.

use steward_api::proto::v1;

use super::{Session, when};
use crate::output::Tone;

/// Runs `trace`.
///
/// # Errors
/// What the node refused.
pub async fn run(id: String, session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let trace = session.client.operations().trace(v1::TraceRequest { id }).await?.into_inner();
    if output.is_json() {
        return output.message("TraceResponse", &trace);
    }
    let row = |line: &v1::TraceLine| {
        let place = match (line.turn, line.step.as_str()) {
            (0, _) => String::new(),
            (turn, "") => turn.to_string(),
            (turn, step) => format!("{turn}/{step}"),
        };
        vec![when(line.at.as_ref()), line.source.clone(), place, line.what.clone(), line.detail.clone()]
    };
    output.table(
        &["at", "source", "step", "what", "detail"],
        trace.lines.iter().map(row).collect(),
        "nothing is known",
    );
    if trace.truncated {
        output.line(output.paint(Tone::Warning, "there is more: trace one turn or step"));
    }
    Ok(())
}
