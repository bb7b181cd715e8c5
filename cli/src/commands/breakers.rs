//! `steward breakers`: the chains' circuit breakers and outboxes.

use steward_api::proto::v1;

use super::{Session, when};
use crate::args::Breakers;
use crate::output::Tone;

/// Runs one of `breakers`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Option<Breakers>, session: &Session) -> anyhow::Result<()> {
    match command.unwrap_or(Breakers::Ls) {
        Breakers::Ls => list(session).await,
        Breakers::Open { chain, confirm } => {
            session.confirm(&format!("send nothing to {chain}"), confirm)?;
            force(session, chain, "open", "is open until it is released").await
        }
        Breakers::Close { chain, confirm } => {
            session.confirm(&format!("send to {chain} whatever fails"), confirm)?;
            force(session, chain, "closed", "is closed until it is released").await
        }
        Breakers::Release { chain } => force(session, chain, "", "decides for itself").await,
    }
}

async fn force(session: &Session, chain: String, state: &str, told: &str) -> anyhow::Result<()> {
    let request = v1::ForceBreakerRequest { chain: chain.clone(), state: state.to_owned() };
    let forced = session.client.operations().force_breaker(request).await?.into_inner();
    if session.output.is_json() {
        return session.output.message("ForceBreakerResponse", &forced);
    }
    session.output.line(format!("the breaker of {chain} {told}"));
    Ok(())
}

async fn list(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let breakers = session.client.operations().breakers(v1::BreakersRequest {}).await?.into_inner().breakers;
    if output.is_json() {
        return breakers.iter().try_for_each(|breaker| output.message("Breaker", breaker));
    }
    let row = |breaker: &v1::Breaker| {
        let (intents, wanted) = (breaker.intents.to_string(), breaker.wanted.to_string());
        vec![breaker.chain.clone(), breaker.state.clone(), intents, when(breaker.oldest_at.as_ref()), wanted]
    };
    let heading = ["chain", "breaker", "unfinished", "oldest", "wanted"];
    output.table(&heading, breakers.iter().map(row).collect(), "this node has no chain");
    for breaker in &breakers {
        for (what, text) in
            [("failed", &breaker.last_failure), ("stalled", &breaker.stalled), ("paused", &breaker.paused)]
        {
            if !text.is_empty() {
                output.line(output.paint(Tone::Warning, format!("{}: {what}: {text}", breaker.chain)));
            }
        }
    }
    Ok(())
}
