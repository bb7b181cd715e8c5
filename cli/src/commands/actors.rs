//! `steward actors`: everything on the node that has a mailbox.

use steward_api::proto::v1;

use super::Session;
use crate::args::Actors;

/// Runs one of `actors`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Actors, session: &Session) -> anyhow::Result<()> {
    let (output, mut actors) = (session.output, session.client.actors());
    match command {
        Actors::Ls { kind } => {
            let request =
                v1::ListActorsRequest { kind: kind.unwrap_or_default(), page_size: 1000, ..Default::default() };
            let listed = actors.list(request).await?.into_inner();
            if output.is_json() {
                return listed.actors.iter().try_for_each(|actor| output.message("ActorSummary", actor));
            }
            let rows = listed.actors.iter().map(|actor| {
                let numbers = [actor.mailbox, actor.restarts];
                let words = [actor.kind.clone(), actor.id.clone(), actor.state.clone()];
                words.into_iter().chain(numbers.map(|n| n.to_string())).chain([actor.cause.clone()]).collect()
            });
            let heading = ["kind", "id", "state", "mailbox", "restarts", "cause"];
            output.table(&heading, rows.collect(), "no actor is live");
            Ok(())
        }
        Actors::Inspect { kind, id } => {
            let shown = actors.inspect(v1::InspectActorRequest { kind, id }).await?.into_inner();
            if output.is_json() {
                return output.message("InspectActorResponse", &shown);
            }
            let summary = shown.summary.unwrap_or_default();
            output.facts(&[
                ("actor", format!("{} {}", summary.kind, summary.id)),
                ("state", summary.state),
                ("mailbox", summary.mailbox.to_string()),
                ("restarts", summary.restarts.to_string()),
                ("cause", summary.cause),
            ]);
            let state = shown.state.unwrap_or_default();
            let value: serde_json::Value = serde_json::from_str(&state.json)?;
            output.line(serde_json::to_string_pretty(&value)?);
            Ok(())
        }
        Actors::DeadLetters => {
            let listed = actors.dead_letters(v1::DeadLettersRequest { page_size: 1000 }).await?.into_inner();
            if output.is_json() {
                return listed.letters.iter().try_for_each(|letter| output.message("DeadLetter", letter));
            }
            let rows =
                listed.letters.iter().map(|letter| vec![letter.kind.clone(), letter.id.clone(), letter.cause.clone()]);
            output.table(&["kind", "id", "cause"], rows.collect(), "no dead letter");
            Ok(())
        }
        Actors::Release { kind, id } => {
            let released = actors.release(v1::ReleaseActorRequest { kind, id }).await?.into_inner();
            if output.is_json() {
                return output.message("ReleaseActorResponse", &released);
            }
            output.line(if released.was_quarantined { "released" } else { "it was not in quarantine" });
            Ok(())
        }
        Actors::Stop { kind, id } => {
            let stopped = actors.stop(v1::StopActorRequest { kind, id }).await?.into_inner();
            if output.is_json() {
                return output.message("StopActorResponse", &stopped);
            }
            output.line(if stopped.was_live { "stopped" } else { "it was not live" });
            Ok(())
        }
    }
}
