//! `steward receipts checkpoint`: what the log's key signed last, and that the log has only grown since another time.

use std::path::Path;

use anyhow::{Context as _, ensure};
use steward_api::proto::v1;
use steward_receipts::growth::Growth;
use steward_receipts::{Checkpoint, Hash, VerifierKey};

use super::Session;
use crate::args::CheckpointArguments;
use crate::output::Tone;

/// Prints the newest checkpoint, keeps it in a file, or holds it against one that was kept.
///
/// # Errors
/// What the node refused; with `--since`, how it is seen that the log did not only grow.
pub async fn run(arguments: CheckpointArguments, session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let request = v1::CheckpointRequest { project: session.project.clone() };
    let newest = session.client.receipts().checkpoint(request).await?.into_inner();
    let growth = match &arguments.since {
        Some(file) => Some(grown(session, file, arguments.trust.as_deref(), &newest).await?),
        None => None,
    };
    if let Some(file) = &arguments.out {
        ensure!(newest.tree_size > 0, "the log is empty, and nothing of it is signed yet");
        std::fs::write(file, &newest.checkpoint).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if output.is_json() {
        return match growth {
            Some(Growth { old, new }) => {
                output.line(serde_json::json!({ "grown": true, "from": old.size, "to": new.size }).to_string());
                Ok(())
            }
            None => output.message("CheckpointResponse", &newest),
        };
    }
    if let Some(Growth { old, new }) = growth {
        output.facts(&[
            ("log", new.origin.clone()),
            ("then", format!("{} leaves, root {}", old.size, old.root)),
            ("now", format!("{} leaves, root {}", new.size, new.root)),
        ]);
        output.line(output.paint(Tone::Good, "the log only grew"));
    } else {
        output.line(newest.checkpoint.trim_end());
        output.facts(&[("verifier key", newest.verifier_key)]);
    }
    Ok(())
}

/// Checks that the newest checkpoint goes on from the one in `file`. The node gives the proof and is not believed: both
/// checkpoints must be signed by the key, which the node names only where `trust` does not.
async fn grown(
    session: &Session,
    file: &Path,
    trust: Option<&str>,
    newest: &v1::CheckpointResponse,
) -> anyhow::Result<Growth> {
    let kept = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let key: VerifierKey = trust.unwrap_or(&newest.verifier_key).parse().context("--trust is no verifier key")?;
    let old =
        Checkpoint::open(&kept, &key).with_context(|| format!("{} is no checkpoint of this log", file.display()))?;
    let path = if old.size <= newest.tree_size {
        let (project, old_size, new_size) = (session.project.clone(), old.size, newest.tree_size);
        let request = v1::ConsistencyRequest { project, old_size, new_size };
        session.client.receipts().consistency(request).await?.into_inner().path
    } else {
        Vec::new()
    };
    let hash = |bytes: Vec<u8>| bytes.try_into().map(Hash::from_bytes);
    let path: Result<Vec<Hash>, _> = path.into_iter().map(hash).collect();
    let path = path.map_err(|bytes| anyhow::anyhow!("the proof has a hash of {} bytes", bytes.len()))?;
    Ok(Growth::verify(&key, &kept, &newest.checkpoint, &path)?)
}
