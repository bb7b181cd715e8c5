//! `steward breakers`: the chains' circuit breakers and outboxes, and their endpoints.

use anyhow::bail;
use steward_api::proto::v1;

use super::{Session, chains, when};
use crate::args::Breakers;
use crate::output::Tone;

/// Runs one of `breakers`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Option<Breakers>, session: &Session) -> anyhow::Result<()> {
    match command.unwrap_or(Breakers::Ls) {
        Breakers::Ls => list(session).await,
        Breakers::Show { chain } => show(session, &chain).await,
        Breakers::Open { chain, endpoint, confirm } => {
            session.confirm(&format!("send nothing to {}", named(&chain, endpoint.as_deref())), confirm)?;
            force(session, chain, endpoint, "open", "is open until it is released").await
        }
        Breakers::Close { chain, endpoint, confirm } => {
            session.confirm(&format!("send to {} whatever fails", named(&chain, endpoint.as_deref())), confirm)?;
            force(session, chain, endpoint, "closed", "is closed until it is released").await
        }
        Breakers::Release { chain, endpoint } => force(session, chain, endpoint, "", "decides for itself").await,
    }
}

fn named(chain: &str, endpoint: Option<&str>) -> String {
    endpoint.map_or_else(|| chain.to_owned(), |endpoint| format!("{chain} at {endpoint}"))
}

async fn force(
    session: &Session,
    chain: String,
    endpoint: Option<String>,
    state: &str,
    told: &str,
) -> anyhow::Result<()> {
    let what = named(&chain, endpoint.as_deref());
    let request = v1::ForceBreakerRequest { chain, state: state.to_owned(), endpoint: endpoint.unwrap_or_default() };
    let forced = session.client.operations().force_breaker(request).await?.into_inner();
    if session.output.is_json() {
        return session.output.message("ForceBreakerResponse", &forced);
    }
    session.output.line(format!("the breaker of {what} {told}"));
    Ok(())
}

async fn breakers(session: &Session) -> anyhow::Result<Vec<v1::Breaker>> {
    Ok(session.client.operations().breakers(v1::BreakersRequest {}).await?.into_inner().breakers)
}

async fn list(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let breakers = breakers(session).await?;
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
        let stalled = breaker.stall.as_ref().map(chains::reason).unwrap_or_default();
        for (what, text) in [("failed", &breaker.last_failure), ("stalled", &stalled), ("paused", &breaker.paused)] {
            if !text.is_empty() {
                output.line(output.paint(Tone::Warning, format!("{}: {what}: {text}", breaker.chain)));
            }
        }
    }
    let endpoints: Vec<Vec<String>> = breakers.iter().flat_map(endpoint_rows).collect();
    if !endpoints.is_empty() {
        output.table(&ENDPOINT_HEADING, endpoints, "");
    }
    Ok(())
}

const ENDPOINT_HEADING: [&str; 8] = ["chain", "endpoint", "state", "score", "p70 ms", "errors ‰", "behind", "wrong"];

fn endpoint_rows(breaker: &v1::Breaker) -> Vec<Vec<String>> {
    let row = |endpoint: &v1::Endpoint| {
        let first = if endpoint.is_primary { " (first)" } else { "" };
        vec![
            breaker.chain.clone(),
            format!("{}{first}", endpoint.name),
            endpoint.state.clone(),
            endpoint.score.to_string(),
            endpoint.latency_p70_ms.map(|millis| millis.to_string()).unwrap_or_default(),
            endpoint.errors_permille.to_string(),
            endpoint.lag_blocks.to_string(),
            endpoint.wrong_answers.to_string(),
        ]
    };
    breaker.endpoints.iter().map(row).collect()
}

const LIMITS_HEADING: [&str; 6] =
    ["endpoint", "newest block", "behind, final", "throttled ‰", "left alone until", "units left"];

fn limits_row(endpoint: &v1::Endpoint) -> Vec<String> {
    let shown = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    vec![
        endpoint.name.clone(),
        shown(endpoint.block),
        endpoint.final_lag_blocks.to_string(),
        endpoint.throttled_permille.to_string(),
        when(endpoint.until.as_ref()),
        shown(endpoint.units_left),
    ]
}

async fn show(session: &Session, chain: &str) -> anyhow::Result<()> {
    let output = session.output;
    let Some(breaker) = breakers(session).await?.into_iter().find(|breaker| breaker.chain == chain) else {
        bail!("this node has no chain {chain}: `steward breakers` lists its chains");
    };
    if output.is_json() {
        return output.message("Breaker", &breaker);
    }
    output.table(&ENDPOINT_HEADING, endpoint_rows(&breaker), "the node says nothing of its endpoints");
    output.table(&LIMITS_HEADING, breaker.endpoints.iter().map(limits_row).collect(), "");
    let class = |endpoint: &v1::Endpoint, class: &v1::EndpointBreaker| {
        let (name, until) = (endpoint.name.clone(), when(class.until.as_ref()));
        vec![name, class.class.clone(), class.state.clone(), until, class.last_failure.clone()]
    };
    let classes =
        breaker.endpoints.iter().flat_map(|endpoint| endpoint.breakers.iter().map(move |one| class(endpoint, one)));
    output.table(&["endpoint", "class", "breaker", "until", "failed"], classes.collect(), "");
    let change = |endpoint: &v1::Endpoint, change: &v1::EndpointTransition| {
        vec![when(change.at.as_ref()), endpoint.name.clone(), change.change.clone(), change.reason.clone()]
    };
    let changes =
        breaker.endpoints.iter().flat_map(|endpoint| endpoint.transitions.iter().map(move |one| change(endpoint, one)));
    let mut changes: Vec<Vec<String>> = changes.collect();
    changes.sort();
    output.table(&["at", "endpoint", "what changed", "why"], changes, "nothing changed since the start");
    Ok(())
}
