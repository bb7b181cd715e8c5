//! `steward actors`: everything in the cluster that has a mailbox.

use steward_api::proto::v1;

use super::{Session, tell_missing, when};
use crate::args::Actors;

/// Runs one of `actors`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Actors, session: &Session) -> anyhow::Result<()> {
    match command {
        Actors::Tree => {
            // Every node of this release has the same one.
            session.output.part(steward_actors::supervision::TREE.render());
            Ok(())
        }
        Actors::Ls { kind } => list(session, kind.unwrap_or_default()).await,
        Actors::Inspect { kind, id } => inspect(session, kind, id).await,
        Actors::Why { kind, id } => why(session, kind, id).await,
        Actors::DeadLetters => dead_letters(session).await,
        Actors::Release { kind, id } => release(session, kind, id).await,
        Actors::Stop { kind, id, confirm } => {
            session.confirm(&format!("stop {kind} {id}"), confirm)?;
            stop(session, kind, id).await
        }
    }
}

async fn list(session: &Session, kind: String) -> anyhow::Result<()> {
    let (output, mut actors) = (session.output, session.client.actors());
    let mut request = v1::ListActorsRequest { kind, page_size: 1000, ..Default::default() };
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    loop {
        let page = actors.list(request.clone()).await?.into_inner();
        if output.is_json() {
            page.actors.iter().try_for_each(|actor| output.message("ActorSummary", actor))?;
        }
        rows.extend(page.actors.into_iter().map(|actor| {
            let numbers = [actor.mailbox, actor.restarts].map(|number| number.to_string());
            [actor.kind, actor.id, actor.state].into_iter().chain(numbers).chain([actor.node]).collect()
        }));
        missing.extend(page.missing);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if !output.is_json() {
        output.table(&["kind", "id", "state", "mailbox", "restarts", "node"], rows, "no actor is live");
    }
    tell_missing(output, &missing);
    Ok(())
}

async fn inspect(session: &Session, kind: String, id: String) -> anyhow::Result<()> {
    let output = session.output;
    let shown = session.client.actors().inspect(v1::InspectActorRequest { kind, id }).await?.into_inner();
    if output.is_json() {
        return output.message("InspectActorResponse", &shown);
    }
    let summary = shown.summary.unwrap_or_default();
    output.facts(&[
        ("actor", format!("{} {}", summary.kind, summary.id)),
        ("node", summary.node),
        ("shard", shown.shard.to_string()),
        ("state", summary.state),
        ("mailbox", summary.mailbox.to_string()),
        ("restarts", summary.restarts.to_string()),
        ("cause", summary.cause),
    ]);
    if let Some(state) = shown.state {
        let value: serde_json::Value = serde_json::from_str(&state.json)?;
        output.line(serde_json::to_string_pretty(&value)?);
    }
    Ok(())
}

async fn why(session: &Session, kind: String, id: String) -> anyhow::Result<()> {
    let output = session.output;
    let why =
        session.client.operations().why(v1::WhyRequest { kind: kind.clone(), id: id.clone() }).await?.into_inner();
    if output.is_json() {
        return output.message("WhyResponse", &why);
    }
    output.line(format!("{kind} {id} is {}", why.state));
    why.reasons.iter().for_each(|reason| output.line(format!("  {reason}")));
    Ok(())
}

async fn dead_letters(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let listed = session.client.actors().dead_letters(v1::DeadLettersRequest { page_size: 1000 }).await?.into_inner();
    if output.is_json() {
        listed.letters.iter().try_for_each(|letter| output.message("DeadLetter", letter))?;
    } else {
        let row = |letter: &v1::DeadLetter| {
            let words = [&letter.kind, &letter.id, &letter.message, &letter.cause, &letter.node];
            [when(letter.at.as_ref())].into_iter().chain(words.map(Clone::clone)).collect()
        };
        let heading = ["at", "kind", "id", "message", "cause", "node"];
        output.table(&heading, listed.letters.iter().map(row).collect(), "no dead letter");
    }
    tell_missing(output, &listed.missing);
    Ok(())
}

/// Lets an actor out of quarantine.
///
/// # Errors
/// What the node refused.
pub async fn release(session: &Session, kind: String, id: String) -> anyhow::Result<()> {
    let output = session.output;
    let released = session.client.actors().release(v1::ReleaseActorRequest { kind, id }).await?.into_inner();
    if output.is_json() {
        output.message("ReleaseActorResponse", &released)?;
    } else {
        output.line(if released.was_quarantined { "released" } else { "it was not in quarantine" });
    }
    tell_missing(output, &released.missing);
    Ok(())
}

async fn stop(session: &Session, kind: String, id: String) -> anyhow::Result<()> {
    let output = session.output;
    let stopped = session.client.actors().stop(v1::StopActorRequest { kind, id }).await?.into_inner();
    if output.is_json() {
        output.message("StopActorResponse", &stopped)?;
    } else {
        output.line(if stopped.was_live { "stopped" } else { "it was not live" });
    }
    tell_missing(output, &stopped.missing);
    Ok(())
}
