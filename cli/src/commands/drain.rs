//! `steward drain` and `undrain`: a node gives its shards away, or takes them again.

use std::time::Duration;

use steward_api::proto::v1;

use super::Session;
use crate::args::Drain;

/// Runs `drain`.
///
/// # Errors
/// What the node refused; also that shards are left when the time is over.
pub async fn drain(command: Drain, session: &Session) -> anyhow::Result<()> {
    let Drain { node, within, confirm } = command;
    session.confirm(&format!("hand every shard of {node} to the others"), confirm)?;
    let output = session.output;
    let spinner = output.spinner(&format!("draining {node}"));
    let within = prost_types::Duration::try_from(Duration::from_secs(within))?;
    let request = v1::DrainRequest { node: node.clone(), within: Some(within) };
    let drained = session.client.operations().drain(request).await;
    spinner.finish_and_clear();
    let drained = drained?.into_inner();
    if output.is_json() {
        return output.message("DrainResponse", &drained);
    }
    output.line(format!("{node} has no shard left, and gets none until `undrain`"));
    Ok(())
}

/// Runs `undrain`.
///
/// # Errors
/// What the node refused.
pub async fn undrain(node: String, session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let undrained = session.client.operations().undrain(v1::UndrainRequest { node: node.clone() }).await?.into_inner();
    if output.is_json() {
        return output.message("UndrainResponse", &undrained);
    }
    output.line(format!("{node} takes shards"));
    Ok(())
}
