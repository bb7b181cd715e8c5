//! `steward nodes`: the members of the cluster.

use anyhow::Context as _;
use steward_api::proto::v1;

use super::{Session, tell_missing, when};
use crate::args::Nodes;

/// Runs one of `nodes`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Option<Nodes>, session: &Session) -> anyhow::Result<()> {
    match command.unwrap_or(Nodes::Ls) {
        Nodes::Ls => list(session).await,
        Nodes::Show { node } => show(session, &node).await,
        Nodes::Evict { node, confirm } => {
            session.confirm(&format!("take node {node} for dead"), confirm)?;
            let evicted =
                session.client.operations().evict(v1::EvictRequest { node: node.clone() }).await?.into_inner();
            if session.output.is_json() {
                return session.output.message("EvictResponse", &evicted);
            }
            session.output.line(format!("{node} is taken for dead"));
            Ok(())
        }
    }
}

async fn list(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let listed = session.client.operations().nodes(v1::NodesRequest {}).await?.into_inner();
    if output.is_json() {
        listed.nodes.iter().try_for_each(|node| output.message("Node", node))?;
    } else {
        let heading = ["node", "state", "shards", "planned", "turns", "actors", "zone", "version", "api"];
        output.table(&heading, listed.nodes.iter().map(row).collect(), "no node");
    }
    tell_missing(output, &listed.missing);
    Ok(())
}

fn row(node: &v1::Node) -> Vec<String> {
    let of_report = |value: fn(&v1::NodeReport) -> u64| {
        node.report.as_ref().map_or_else(|| "-".to_owned(), |report| value(report).to_string())
    };
    let id = if node.is_this { format!("{}*", node.id) } else { node.id.clone() };
    let text = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    vec![
        id,
        node.state.clone(),
        node.shards.to_string(),
        node.shards_planned.to_string(),
        of_report(|report| report.turns_in_flight),
        of_report(|report| report.kinds.iter().map(|kind| kind.live).sum()),
        text(&node.zone),
        node.version.clone(),
        text(&node.api_address),
    ]
}

async fn show(session: &Session, id: &str) -> anyhow::Result<()> {
    let output = session.output;
    let listed = session.client.operations().nodes(v1::NodesRequest {}).await?.into_inner();
    let node = listed.nodes.iter().find(|node| node.id == id);
    let node = node.with_context(|| format!("{id} is no member of this cluster: see `nodes`"))?;
    if output.is_json() {
        return output.message("Node", node);
    }
    let mut facts = vec![
        ("node", node.id.clone()),
        ("state", node.state.clone()),
        ("joined", when(node.joined_at.as_ref())),
        ("changed", when(node.changed_at.as_ref())),
        ("links", node.link_address.clone()),
        ("api", node.api_address.clone()),
        ("zone", node.zone.clone()),
        ("weight", node.weight.to_string()),
        ("version", node.version.clone()),
        ("shards", format!("{} of {} planned", node.shards, node.shards_planned)),
    ];
    if let Some(report) = &node.report {
        facts.extend([
            ("started", when(report.started_at.as_ref())),
            ("store", report.store.clone()),
            ("turns", format!("{} in flight, {} since the start", report.turns_in_flight, report.turns)),
            ("commits", report.commits.to_string()),
            ("tokens", report.tokens.to_string()),
            ("dead letters", report.dead_letters.to_string()),
            ("certificate", when(report.certificate_ends_at.as_ref())),
        ]);
    }
    output.facts(&facts);
    let kinds = node.report.iter().flat_map(|report| &report.kinds).map(|kind| {
        vec![kind.kind.clone(), kind.live.to_string(), kind.quarantined.to_string(), kind.mailbox.to_string()]
    });
    output.table(&["kind", "live", "quarantined", "mailbox"], kinds.collect(), "it gave no report");
    let missing: Vec<_> = listed.missing.into_iter().filter(|missing| missing.node == id).collect();
    tell_missing(output, &missing);
    Ok(())
}
