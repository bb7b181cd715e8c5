//! `steward contracts`: what operators put on chains, and putting more there through the outbox.

use anyhow::Context as _;
use steward_api::proto::v1;

use super::Session;
use crate::args::Contracts;

/// Runs one of `contracts`.
///
/// # Errors
/// What the node refused; an argument that is not `NAME=VALUE`.
pub async fn run(command: Option<Contracts>, session: &Session) -> anyhow::Result<()> {
    match command.unwrap_or(Contracts::List { chain: None }) {
        Contracts::List { chain } => list(session, chain.unwrap_or_default()).await,
        Contracts::Deploy { contract, chain, arguments } => deploy(session, contract, chain, &arguments).await,
    }
}

async fn list(session: &Session, chain: String) -> anyhow::Result<()> {
    let output = session.output;
    let contracts = session.client.chains().contracts(v1::ContractsRequest { chain }).await?.into_inner().contracts;
    if output.is_json() {
        return contracts.iter().try_for_each(|contract| output.message("Contract", contract));
    }
    let row = |contract: &v1::Contract| {
        let is_final = !contract.address.is_empty();
        let address = if is_final { contract.address.clone() } else { "on its way".to_owned() };
        let block = if is_final { contract.block.to_string() } else { "-".to_owned() };
        vec![contract.chain.clone(), contract.contract.clone(), address, block, with(contract)]
    };
    let heading = ["chain", "contract", "address", "block", "made with"];
    output.table(&heading, contracts.iter().map(row).collect(), "nothing was put on a chain: steward contracts deploy");
    Ok(())
}

async fn deploy(session: &Session, contract: String, chain: String, arguments: &[String]) -> anyhow::Result<()> {
    let output = session.output;
    let named = arguments.iter().map(|argument| {
        let (name, value) = argument.split_once('=').with_context(|| format!("{argument:?} is not NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let request = v1::DeployContractRequest {
        chain: chain.clone(),
        contract: contract.clone(),
        arguments: named.collect::<anyhow::Result<_>>()?,
    };
    let answer = session.client.chains().deploy(request).await?.into_inner();
    if output.is_json() {
        return output.message("DeployContractResponse", &answer);
    }
    let Some(made) = answer.contract else {
        output.line(format!(
            "{contract} is on its way to {chain}, and goes on: `steward contracts` tells when it is final"
        ));
        return Ok(());
    };
    output.facts(&[
        ("chain", made.chain),
        ("contract", made.contract),
        ("address", made.address),
        ("transaction", made.transaction),
        ("block", made.block.to_string()),
        ("fee", made.fee),
    ]);
    Ok(())
}

/// What it was made with, in the order of names.
fn with(contract: &v1::Contract) -> String {
    let mut given: Vec<String> = contract.arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
    given.sort_unstable();
    given.join(" ")
}
