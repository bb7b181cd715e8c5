//! `steward models`: fetch, load, list, unload.

use std::path::Path;

use steward_actors::model::Replicas;
use steward_api::proto::v1;
use steward_types::ErrorCode;

use super::Session;
use crate::args::Models;
use crate::client;
use crate::output::Tone;
use crate::sources::{self, Source};

/// Runs one of `models`.
///
/// # Errors
/// What could not be fetched, or what the node refused.
pub async fn run(command: Models, session: &Session) -> anyhow::Result<()> {
    let (output, mut models) = (session.output, session.client.models());
    match command {
        Models::Add { name, source, sha256, replicas, cache } => {
            let cache = cache.map_or_else(sources::cache_folder, Ok)?;
            show(session, &add(session, &name, &source, sha256, replicas, &cache).await?)
        }
        Models::List => {
            let listed = models.list(v1::ListModelsRequest {}).await?.into_inner();
            if output.is_json() {
                return listed.models.iter().try_for_each(|model| output.message("Model", model));
            }
            let rows = listed.models.iter().map(|model| {
                vec![
                    model.name.clone(),
                    model.architecture.clone(),
                    model.context_tokens.to_string(),
                    format!("{} MB", model.memory_bytes >> 20),
                    replicas(model),
                    model.state.clone(),
                ]
            });
            output.table(
                &["model", "kind", "context", "memory", "replicas", "state"],
                rows.collect(),
                "no model yet: steward models add",
            );
            Ok(())
        }
        Models::Show { name } => show(session, &models.get(v1::GetModelRequest { name }).await?.into_inner()),
        Models::Remove { name, confirm } => {
            session.confirm(&format!("unload the model {name}"), confirm)?;
            models.remove(v1::RemoveModelRequest { name: name.clone() }).await?;
            if !output.is_json() {
                output.line(format!("{name} is unloaded"));
            }
            Ok(())
        }
    }
}

/// Fetches a model, unless it is kept, and loads it into the node.
///
/// # Errors
/// What could not be fetched, or what the node refused.
pub async fn add(
    session: &Session,
    name: &str,
    source: &str,
    sha256: Option<String>,
    replicas: Replicas,
    cache: &Path,
) -> anyhow::Result<v1::Model> {
    let known = sources::known(if source.is_empty() { name } else { source });
    let text = known.map_or(source, |known| known.source);
    if text.is_empty() {
        let names: Vec<&str> = sources::KNOWN.iter().map(|known| known.name).collect();
        anyhow::bail!("{name:?} is not one of {}: name a source too", names.join(", "));
    }
    let expected_hash = sha256.or_else(|| known.map(|known| known.sha256.to_owned())).unwrap_or_default();
    let source: Source = text.parse()?;
    let path = sources::fetch(&source, cache, session.output).await?;
    let path = std::path::absolute(path)?.into_os_string().into_string();
    let path = path.map_err(|path| anyhow::anyhow!("{} is not UTF-8", path.display()))?;
    let spinner = session.output.spinner(&format!("loading {name}"));
    let request = v1::AddModelRequest {
        name: name.into(),
        path: path.clone(),
        source: text.into(),
        expected_hash,
        replicas: match replicas {
            Replicas::Count(count) => count.get(),
            Replicas::Each => 0,
        },
        on_each_node: replicas == Replicas::Each,
    };
    let added = session.client.models().add(request).await;
    spinner.finish_and_clear();
    added.map(tonic::Response::into_inner).map_err(|status| {
        let advice = advice(&source, &path, &status);
        anyhow::Error::from(status).context(format!("{name} was not loaded{advice}"))
    })
}

/// What to do about a kept file that is not what was fetched.
fn advice(source: &Source, path: &str, status: &tonic::Status) -> String {
    let is_kept = !matches!(source, Source::File(_));
    let is_invalid = client::reason(status).as_deref() == Some(ErrorCode::ModelFileInvalid.reason());
    if is_kept && is_invalid {
        format!("; if the kept copy was changed, remove {path} and run this again: it is fetched anew")
    } else {
        String::new()
    }
}

/// How many of the replicas that should be there are ready.
fn replicas(model: &v1::Model) -> String {
    let ready = match model.replicas.is_empty() {
        true => usize::from(model.state == "ready"),
        false => model.replicas.iter().filter(|replica| replica.state == "ready").count(),
    };
    match model.replicas_wished {
        0 => format!("{ready} of all"),
        wished => format!("{ready} of {wished}"),
    }
}

fn show(session: &Session, model: &v1::Model) -> anyhow::Result<()> {
    let output = session.output;
    if output.is_json() {
        return output.message("Model", model);
    }
    output.facts(&[
        ("model", model.name.clone()),
        ("kind", model.architecture.clone()),
        ("source", model.source.clone()),
        ("sha256", model.hash.clone()),
        ("context", format!("{} tokens", model.context_tokens)),
        ("memory", format!("{} MB", model.memory_bytes >> 20)),
        ("replicas", replicas(model)),
        ("state", model.state.clone()),
    ]);
    for replica in &model.replicas {
        let why = if replica.failure.is_empty() { String::new() } else { format!(": {}", replica.failure) };
        output.line(format!("{} of {}: {}{why}", replica.device, replica.node, replica.state));
    }
    if !model.missing.is_empty() {
        output.line(output.paint(Tone::Bad, &model.missing));
    }
    if !model.failure.is_empty() {
        output.line(output.paint(Tone::Bad, &model.failure));
    }
    Ok(())
}
