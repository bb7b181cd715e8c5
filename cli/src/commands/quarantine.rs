//! `steward quarantine`: actors that are set aside.

use steward_api::proto::v1;

use super::{Session, actors, tell_missing, when};
use crate::args::Quarantine;

/// Runs one of `quarantine`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Option<Quarantine>, session: &Session) -> anyhow::Result<()> {
    match command.unwrap_or(Quarantine::Ls) {
        Quarantine::Ls => list(session).await,
        Quarantine::Release { kind, id } => actors::release(session, kind, id).await,
    }
}

async fn list(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let found = session.client.operations().quarantine(v1::QuarantineRequest {}).await?.into_inner();
    if output.is_json() {
        found.actors.iter().try_for_each(|actor| output.message("QuarantinedActor", actor))?;
    } else {
        let row = |actor: &v1::QuarantinedActor| {
            let (since, until) = (when(actor.since.as_ref()), when(actor.until.as_ref()));
            vec![actor.kind.clone(), actor.id.clone(), actor.node.clone(), since, until, actor.cause.clone()]
        };
        let heading = ["kind", "id", "node", "since", "until", "cause"];
        output.table(&heading, found.actors.iter().map(row).collect(), "no actor is set aside");
    }
    tell_missing(output, &found.missing);
    Ok(())
}
