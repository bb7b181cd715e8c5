//! The projects of a run, each with one agent and a key of its own.

use std::path::Path;

use anyhow::Context as _;
use steward::client::Client;
use steward::commands::agents::read_bundle;
use steward::process::NodeProcess;
use steward_api::proto::v1;

/// Makes a project with prices and an agent of `agents/`, and gives clients of every node with a key of its own.
///
/// # Errors
/// What the node says.
pub async fn create(nodes: &[NodeProcess], name: &str, agent: &str, chains: &[&str]) -> anyhow::Result<Vec<Client>> {
    let first = nodes.first().context("a run has nodes")?;
    let root = first.root_client()?;
    let price = |tokens, call| v1::Price {
        per_million_input_tokens_micros: tokens,
        per_million_output_tokens_micros: 2 * tokens,
        per_call_micros: call,
        per_second_micros: 0,
    };
    let prices = v1::PriceList {
        model_default: Some(price(3_000_000, 1)),
        function_default: Some(price(0, 7)),
        ..Default::default()
    };
    let create = v1::CreateProjectRequest {
        name: name.to_owned(),
        limit_micros: Some(1_000_000_000_000),
        prices: Some(prices),
        chains: chains.iter().map(|&chain| chain.to_owned()).collect(),
        ..Default::default()
    };
    root.projects().create(create).await?;
    let key = v1::CreateKeyRequest {
        project: name.to_owned(),
        label: "chaos".to_owned(),
        role: v1::KeyRole::Admin.into(),
        idempotency_key: String::new(),
    };
    let key = root.projects().create_key(key).await?.into_inner();
    let client = Client::new(first.server(), Some(&key.secret))?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents").join(agent);
    let deploy = v1::DeployAgentRequest { project: name.to_owned(), bundle: Some(read_bundle(&folder)?) };
    client.agents().deploy(deploy).await?;
    nodes.iter().map(|node| Client::new(node.server(), Some(&key.secret))).collect()
}
