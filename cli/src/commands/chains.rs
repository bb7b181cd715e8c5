//! `steward chains`: the node's chains, and adding one to its configuration.

use anyhow::bail;
use steward_adapters::chain::{AccountId, ChainId};
use steward_adapters::outbox::Stall;
use steward_api::proto::v1;

use super::{Session, chain_add};
use crate::args::Chains;
use crate::output::{Output, Tone};

/// Runs one of `chains`. Adding one asks no node: it writes a file of the machine that this runs on, the shell's too.
///
/// # Errors
/// What the node refused; as for [`add`].
pub async fn run(command: Option<Chains>, session: &Session) -> anyhow::Result<()> {
    match command.unwrap_or(Chains::List) {
        Chains::List => list(session).await,
        Chains::Show { chain } => show(session, &chain).await,
        Chains::Add(chain) => add(&chain, session.output).await,
    }
}

/// Runs the one of `chains` that asks no node.
///
/// # Errors
/// When an endpoint is not what it should be, or the file cannot be written.
pub async fn add(chain: &crate::args::AddChain, output: Output) -> anyhow::Result<()> {
    chain_add::run(chain, output).await
}

async fn chains(session: &Session) -> anyhow::Result<Vec<v1::Chain>> {
    Ok(session.client.chains().list(v1::ListChainsRequest {}).await?.into_inner().chains)
}

async fn list(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let chains = chains(session).await?;
    if output.is_json() {
        return chains.iter().try_for_each(|chain| output.message("Chain", chain));
    }
    let row = |chain: &v1::Chain| {
        vec![
            chain.chain.clone(),
            chain.account.clone(),
            chain.signer.clone(),
            chain.breaker.clone(),
            chain.block.map_or_else(|| "-".to_owned(), |block| block.to_string()),
            chain.intents.to_string(),
            endpoints(chain),
        ]
    };
    let heading = ["chain", "account", "key in", "breaker", "block", "unfinished", "endpoints"];
    output.table(&heading, chains.iter().map(row).collect(), "this node has no chain: steward chains add");
    chains.iter().for_each(|chain| tell_trouble(output, &chain.chain, chain.stall.as_ref(), &chain.failure));
    Ok(())
}

async fn show(session: &Session, name: &str) -> anyhow::Result<()> {
    let output = session.output;
    let Some(chain) = chains(session).await?.into_iter().find(|chain| chain.chain == name) else {
        bail!("this node has no chain {name}: `steward chains` lists its chains");
    };
    if output.is_json() {
        return output.message("Chain", &chain);
    }
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    output.facts(&[
        ("chain", chain.chain.clone()),
        ("account", or_none(&chain.account)),
        ("account id", account_id(&chain.chain, &chain.account)),
        ("key in", or_none(&chain.signer)),
        ("contract", or_none(&chain.contract)),
        ("breaker", or_none(&chain.breaker)),
        ("block", chain.block.map_or_else(|| "-".to_owned(), |block| block.to_string())),
        ("unfinished", chain.intents.to_string()),
        ("endpoints", endpoints(&chain)),
    ]);
    tell_trouble(output, &chain.chain, chain.stall.as_ref(), &chain.failure);
    Ok(())
}

/// The account with its chain, as CAIP-10 writes it: a name for it that fits everywhere.
pub(super) fn account_id(chain: &str, account: &str) -> String {
    let account = chain.parse::<ChainId>().ok().and_then(|chain| AccountId::new(chain, account));
    account.map_or_else(|| "-".to_owned(), |account| account.to_string())
}

fn endpoints(chain: &v1::Chain) -> String {
    let names = chain.endpoints.join(", ");
    if chain.quorum > 1 { format!("{names} ({} must agree)", chain.quorum) } else { names }
}

/// Says why a chain does nothing, and why it could not be asked.
pub(super) fn tell_trouble(output: Output, chain: &str, stall: Option<&v1::Stall>, failure: &str) {
    let stalled = stall.map(reason).unwrap_or_default();
    for (what, text) in [("stalled", stalled.as_str()), ("failed", failure)] {
        if !text.is_empty() {
            output.line(output.paint(Tone::Warning, format!("{chain}: {what}: {text}")));
        }
    }
}

/// Why an outbox stalled, in words.
pub(super) fn reason(stall: &v1::Stall) -> String {
    Stall::try_from(stall).map_or_else(|unknown| unknown.to_string(), |stall| stall.to_string())
}
