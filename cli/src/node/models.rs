//! The node's models: files on candle, and the scripted one where it is wished for.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use steward_actors::service::{ModelCatalog, StoredModels};
use steward_inference::{DeviceBudget, Model, ModelError, ModelLoader, ModelSource, ProgressSink, ScriptedModel};
use steward_inference_candle::CandleLoader;
use steward_storage::Store;
use steward_types::{Clock, ModelId};

use crate::config::NodeConfig;

/// The name and the path of the deterministic model.
const SCRIPTED: &str = "scripted";

/// Loads every model that the node offered before, and the scripted one where the configuration asks for it.
pub(super) async fn open(
    config: &NodeConfig,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<dyn ModelCatalog>> {
    let bytes = config.device_memory_mib.saturating_mul(1 << 20);
    let loader = Arc::new(Loader { candle: CandleLoader::new(Arc::clone(clock)) });
    let catalog = StoredModels::new(Arc::clone(store), loader, DeviceBudget::new("cpu", bytes));
    let silent: ProgressSink = Arc::new(|_| {});
    catalog.restore(&silent).await.context("the models that were offered before")?;
    if config.scripted_model {
        let id: ModelId = SCRIPTED.parse()?;
        catalog.add(ModelSource::new(id, SCRIPTED), SCRIPTED.to_owned()).await.context("the scripted model")?;
    }
    Ok(Arc::new(catalog))
}

/// Chooses the engine for a model.
#[derive(Debug)]
struct Loader {
    candle: CandleLoader,
}

#[async_trait]
impl ModelLoader for Loader {
    async fn load(
        &self,
        source: ModelSource,
        device: Arc<DeviceBudget>,
        progress: ProgressSink,
    ) -> Result<Arc<dyn Model>, ModelError> {
        if source.path.as_os_str() == SCRIPTED {
            return Ok(Arc::new(ScriptedModel::echo(source.id)));
        }
        self.candle.load(source, device, progress).await
    }
}
