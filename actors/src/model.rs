//! Where the kinds get their models from, and the entity that shows one model to operators.

mod entity;
mod offer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use steward_inference::{DeviceSnapshot, Model, ModelCard, ModelError, ReplicaLoad};
use steward_types::ModelId;

pub use entity::{ModelReplica, ModelRequest, ModelResponse};
pub use offer::{ModelOffer, NewModel, Replicas, ReplicasError};

/// The models that this node can ask.
#[async_trait]
pub trait Models: Send + Sync + fmt::Debug + 'static {
    /// The model of this name: [`ModelError::NotFound`] when there is none, [`ModelError::Busy`] while it loads.
    async fn get(&self, id: &ModelId) -> Result<Arc<dyn Model>, ModelError>;

    /// The names of all models, in order.
    async fn list(&self) -> Vec<ModelId>;

    /// How a model is doing; none when there is none of this name.
    fn status(&self, id: &ModelId) -> Option<ModelStatus>;

    /// The devices that the models run on, and what their memory is used for.
    fn devices(&self) -> Vec<DeviceSnapshot>;
}

/// How a model is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ModelStatus {
    /// It is being loaded.
    Loading,
    /// It can be asked.
    Ready {
        /// What is known of it.
        card: Box<ModelCard>,
        /// How busy it is.
        load: ReplicaLoad,
    },
    /// It could not be loaded.
    Failed {
        /// Why.
        why: String,
    },
}

impl ModelStatus {
    /// The status of a loaded model.
    pub fn ready(model: &dyn Model) -> Self {
        Self::Ready { card: Box::new(model.card().clone()), load: model.load() }
    }
}

/// Models that are loaded already, by name.
#[derive(Debug, Default)]
pub struct LoadedModels(RwLock<BTreeMap<ModelId, Arc<dyn Model>>>);

impl LoadedModels {
    /// Adds a model under the name on its card; returns the one that had the name before.
    pub fn insert(&self, model: Arc<dyn Model>) -> Option<Arc<dyn Model>> {
        self.0.write().insert(model.card().id.clone(), model)
    }

    /// Takes a model out; it is unloaded once nobody uses it any more.
    pub fn remove(&self, id: &ModelId) -> Option<Arc<dyn Model>> {
        self.0.write().remove(id)
    }
}

impl FromIterator<Arc<dyn Model>> for LoadedModels {
    fn from_iter<I: IntoIterator<Item = Arc<dyn Model>>>(models: I) -> Self {
        let loaded = Self::default();
        for model in models {
            loaded.insert(model);
        }
        loaded
    }
}

#[async_trait]
impl Models for LoadedModels {
    async fn get(&self, id: &ModelId) -> Result<Arc<dyn Model>, ModelError> {
        self.0.read().get(id).cloned().ok_or_else(|| ModelError::NotFound { id: id.clone() })
    }

    async fn list(&self) -> Vec<ModelId> {
        self.0.read().keys().cloned().collect()
    }

    fn status(&self, id: &ModelId) -> Option<ModelStatus> {
        self.0.read().get(id).map(|model| ModelStatus::ready(model.as_ref()))
    }

    fn devices(&self) -> Vec<DeviceSnapshot> {
        Vec::new()
    }
}
