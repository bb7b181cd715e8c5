//! `steward audit`: what operators did.

use steward_api::proto::v1;

use super::{Session, when};

/// Runs `audit`.
///
/// # Errors
/// What the node refused.
pub async fn run(most: u32, session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let request = v1::AuditTrailRequest { page_size: most, page_token: String::new() };
    let entries = session.client.operations().audit(request).await?.into_inner().entries;
    if output.is_json() {
        return entries.iter().try_for_each(|entry| output.message("AuditTrailEntry", entry));
    }
    let row = |entry: &v1::AuditTrailEntry| {
        let outcome = [entry.outcome.as_str(), entry.message.as_str()];
        let outcome: Vec<&str> = outcome.into_iter().filter(|text| !text.is_empty()).collect();
        vec![
            when(entry.at.as_ref()),
            entry.key.clone(),
            entry.operation.clone(),
            entry.subject.clone(),
            entry.arguments_json.clone(),
            outcome.join(": "),
        ]
    };
    let heading = ["at", "key", "operation", "subject", "arguments", "outcome"];
    output.table(&heading, entries.iter().map(row).collect(), "no operator has done anything yet");
    Ok(())
}
