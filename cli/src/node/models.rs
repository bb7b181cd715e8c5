//! The node's models: files on candle, and the scripted one where it is wished for. A node that is alone keeps its own
//! catalog, a member shares its cluster's.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use steward_actors::model::{NewModel, Replicas};
use steward_actors::service::{ModelCatalog, Steward, StoredModels};
use steward_cluster::{ClusterModels, ModelParts, Seat};
use steward_inference::{
    DeviceBudget, Model, ModelCard, ModelError, ModelLoader, ModelSource, ProgressSink, ScriptedModel,
};
use steward_inference_candle::CandleLoader;
use steward_storage::Store;
use steward_types::{Clock, Entropy};

use super::devices::{self, Opened};
use crate::config::NodeConfig;
use crate::output::Output;
use crate::sources::{self, Source};

/// The name and the path of the deterministic model.
const SCRIPTED: &str = "scripted";

/// Where a node keeps what it fetches, below its data folder.
const FILES: &str = "models";

/// The models of a node.
#[derive(Debug)]
pub(super) enum Catalog {
    /// It is alone.
    Own(Arc<StoredModels>),
    /// It is a member.
    Shared(Arc<ClusterModels>),
}

impl Catalog {
    /// As what the node's parts know.
    pub(super) fn port(&self) -> Arc<dyn ModelCatalog> {
        match self {
            Self::Own(models) => Arc::clone(models) as _,
            Self::Shared(models) => Arc::clone(models) as _,
        }
    }

    /// The cluster's models, for a member.
    pub(super) fn shared(&self) -> Option<&Arc<ClusterModels>> {
        match self {
            Self::Own(_) => None,
            Self::Shared(models) => Some(models),
        }
    }
}

/// The models that the node has, or its cluster. A node that is alone loads every one that it offered before.
pub(super) async fn open(
    config: &NodeConfig,
    seat: Option<&Seat>,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> anyhow::Result<Catalog> {
    let Opened { devices, gpus } = devices::open(config).await?;
    let files = config.data.join(FILES);
    let candle = CandleLoader::new(Arc::clone(clock)).with_gpus(gpus).with_devices(devices.clone());
    let loader: Arc<dyn ModelLoader> = Arc::new(Loader { candle, files });
    let (store, clock, entropy) = (Arc::clone(store), Arc::clone(clock), Arc::clone(entropy));
    let catalog = match seat {
        Some(seat) => {
            let parts = ModelParts { store, clock, entropy, loader, devices };
            Catalog::Shared(ClusterModels::start(seat, parts).await.context("the cluster's models cannot be served")?)
        }
        None => {
            let models = StoredModels::new(store, loader, devices);
            let silent: ProgressSink = Arc::new(|_| {});
            models.restore(&silent).await.context("the models that were offered before cannot be offered again")?;
            Catalog::Own(Arc::new(models))
        }
    };
    Ok(catalog)
}

/// Offers the deterministic model. It takes no memory, so each node has it at hand.
pub(super) async fn add_scripted(steward: &Steward) -> anyhow::Result<()> {
    let source = ModelSource::new(SCRIPTED.parse()?, SCRIPTED);
    let scripted = NewModel { source, replicas: Replicas::Each };
    steward.add_model(scripted).await.context("scripted_model = true: the model cannot be offered")?;
    Ok(())
}

/// Finds a model's file on this machine, and chooses the engine for it.
#[derive(Debug)]
struct Loader {
    candle: CandleLoader,
    /// Where fetched files are kept.
    files: PathBuf,
}

impl Loader {
    /// The source with a path that is on this machine: fetched, where there is nothing at the path that another
    /// machine has.
    async fn found(&self, source: ModelSource) -> Result<ModelSource, ModelError> {
        let origin: Option<Source> = source.origin.parse().ok();
        let Some(origin) = origin.filter(|origin| !matches!(origin, Source::File(_)) && !source.path.exists()) else {
            return Ok(source);
        };
        let fetched = sources::fetch(&origin, &self.files, Output::new(true)).await;
        let path = fetched.map_err(|error| ModelError::FileInvalid {
            path: source.path.clone(),
            what: format!("it is not on this node, and {} cannot be fetched: {error:#}", source.origin),
        })?;
        Ok(ModelSource { path, ..source })
    }
}

#[async_trait]
impl ModelLoader for Loader {
    async fn inspect(&self, source: ModelSource) -> Result<ModelCard, ModelError> {
        if source.path.as_os_str() == SCRIPTED {
            return Ok(ScriptedModel::echo(source.id).card().clone());
        }
        self.candle.inspect(self.found(source).await?).await
    }

    async fn load(
        &self,
        source: ModelSource,
        device: Arc<DeviceBudget>,
        progress: ProgressSink,
    ) -> Result<Arc<dyn Model>, ModelError> {
        if source.path.as_os_str() == SCRIPTED {
            return Ok(Arc::new(ScriptedModel::echo(source.id)));
        }
        self.candle.load(self.found(source).await?, device, progress).await
    }
}
