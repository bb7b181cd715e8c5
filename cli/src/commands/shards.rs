//! `steward shards`: whose the shards are, and moving one.

use std::collections::BTreeMap;

use steward_api::proto::v1;

use super::Session;
use crate::args::Shards;

/// Runs one of `shards`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Option<Shards>, session: &Session) -> anyhow::Result<()> {
    match command.unwrap_or(Shards::Ls { node: None }) {
        Shards::Ls { node } => list(session, node).await,
        Shards::Move { shard, node, confirm } => {
            session.confirm(&format!("move shard {shard} to {node}"), confirm)?;
            place(session, shard, node.clone()).await?;
            tell(session, format!("shard {shard} goes to {node}, and stays there while that is up"));
            Ok(())
        }
        Shards::Unpin { shard } => {
            place(session, shard, String::new()).await?;
            tell(session, format!("shard {shard} goes wherever the placement wants it"));
            Ok(())
        }
    }
}

async fn place(session: &Session, shard: u32, to: String) -> anyhow::Result<()> {
    let noted = session.client.operations().move_shard(v1::MoveShardRequest { shard, to }).await?.into_inner();
    if session.output.is_json() { session.output.message("MoveShardResponse", &noted) } else { Ok(()) }
}

fn tell(session: &Session, text: String) {
    if !session.output.is_json() {
        session.output.line(text);
    }
}

async fn list(session: &Session, node: Option<String>) -> anyhow::Result<()> {
    let (output, single) = (session.output, node.is_some());
    let request = v1::ShardsRequest { node: node.unwrap_or_default() };
    let shards = session.client.operations().shards(request).await?.into_inner().shards;
    if output.is_json() {
        return shards.iter().try_for_each(|shard| output.message("Shard", shard));
    }
    let text = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    if single {
        let row = |shard: &v1::Shard| {
            vec![shard.shard.to_string(), shard.epoch.to_string(), text(&shard.target), text(&shard.pinned)]
        };
        output.table(&["shard", "epoch", "target", "pinned"], shards.iter().map(row).collect(), "it has no shard");
        return Ok(());
    }
    let mut owners: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for shard in &shards {
        let [owned, leaving, pinned] = owners.entry(&shard.owner).or_default();
        *owned += 1;
        *leaving += usize::from(shard.target != shard.owner);
        *pinned += usize::from(!shard.pinned.is_empty());
    }
    let row = |(owner, counts): (&&str, &[usize; 3])| {
        let owner = if owner.is_empty() { "nobody".to_owned() } else { (*owner).to_owned() };
        [owner].into_iter().chain(counts.map(|count| count.to_string())).collect()
    };
    output.table(&["owner", "shards", "leaving", "pinned"], owners.iter().map(row).collect(), "no shard");
    Ok(())
}
