//! Models, agents and modules.

use std::collections::BTreeMap;

use steward_actors::agent::{MANIFEST_FILE, UploadedBundle, VersionRecord};
use steward_actors::model::{ModelStatus, Replicas};
use steward_actors::service::{AgentView, Failure, ModelState, ModelView, ModuleAgent, ModuleView, PlacedReplica};
use steward_inference::{ModelFamily, ReplicaLoad};
use steward_scripting::Diagnostic;

use super::time;
use crate::proto::v1;

pub(crate) fn model(view: ModelView) -> v1::Model {
    let mut model = v1::Model {
        name: view.id.to_string(),
        source: if view.from.is_empty() { view.path.display().to_string() } else { view.from },
        replicas_wished: match view.replicas {
            Replicas::Each => 0,
            Replicas::Count(count) => count.get(),
        },
        replicas: view.placed.into_iter().map(replica).collect(),
        missing: view.missing,
        ..v1::Model::default()
    };
    match view.state {
        ModelState::Loading => model.state = "loading".to_owned(),
        ModelState::Failed(why) => (model.state, model.failure) = ("failed".to_owned(), why),
        ModelState::Ready(card) => {
            model.state = "ready".to_owned();
            model.r#use = if card.can_generate { v1::ModelUse::Generate } else { v1::ModelUse::Embed }.into();
            model.architecture = match card.family {
                ModelFamily::Llama => "llama",
                ModelFamily::Bert => "bert",
                ModelFamily::Scripted => "scripted",
            }
            .to_owned();
            model.hash = card.hash.to_string();
            model.context_tokens = card.context_tokens;
            model.embedding_dimensions = card.embedding_dimensions;
            model.memory_bytes = card.weights_bytes;
        }
    }
    model
}

fn replica(placed: PlacedReplica) -> v1::ModelReplica {
    let (state, failure, load) = match placed.state {
        ModelStatus::Loading => ("loading", String::new(), ReplicaLoad::default()),
        ModelStatus::Ready { load, .. } => ("ready", String::new(), load),
        ModelStatus::Failed { why } => ("failed", why, ReplicaLoad::default()),
    };
    v1::ModelReplica {
        node: placed.node.to_string(),
        device: placed.device,
        state: state.to_owned(),
        failure,
        generations: load.active.saturating_add(load.waiting),
    }
}

pub(crate) fn agent(view: &AgentView, newest: &VersionRecord) -> v1::Agent {
    v1::Agent {
        name: view.id.to_string(),
        project: view.project.to_string(),
        newest: Some(version(newest)),
        description: view.agent.description.clone(),
    }
}

pub(crate) fn version(version: &VersionRecord) -> v1::AgentVersion {
    v1::AgentVersion { number: version.number, hash: hex::encode(version.hash), deployed_at: time(version.deployed) }
}

pub(crate) fn module(view: ModuleView) -> v1::Module {
    let having = |ModuleAgent { agent, version, current }| v1::ModuleAgent { agent: agent.into(), version, current };
    v1::Module {
        name: view.id.into(),
        project: view.project.into(),
        hash: hex::encode(view.module.file.hash),
        bytes: view.module.file.bytes,
        updated_at: time(view.module.updated),
        agents: view.agents.into_iter().map(having).collect(),
    }
}

pub(crate) fn bundle(mut files: BTreeMap<String, String>) -> v1::Bundle {
    let manifest_toml = files.remove(MANIFEST_FILE).unwrap_or_default();
    v1::Bundle { files, manifest_toml }
}

pub(crate) fn bundle_from(bundle: Option<v1::Bundle>) -> Result<UploadedBundle, Failure> {
    let bundle = bundle.ok_or_else(|| Failure::field("bundle", "it is missing"))?;
    Ok(UploadedBundle { files: bundle.files, manifest: bundle.manifest_toml })
}

pub(crate) fn diagnostic(found: Diagnostic) -> v1::Diagnostic {
    v1::Diagnostic {
        file: found.file,
        line: found.line,
        column: found.column,
        message: found.message,
        help: found.help.unwrap_or_default(),
    }
}
