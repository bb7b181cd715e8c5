//! Models: what the node offers, kept in the store as names and paths, so that a restart offers the same.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use steward_inference::{DeviceSnapshot, Devices, Model, ModelCard, ModelError, ModelLoader, ProgressSink};
use steward_storage::{Store, StoreError, StoreExt};
use steward_types::{ErrorCode, ModelId, NodeId};

use super::{Failure, Steward};
use crate::device::{Device, DeviceRequest};
use crate::host::{Entity, EntityId};
use crate::model::{ModelOffer, ModelReplica, ModelRequest, ModelStatus, Models, NewModel, Replicas};

/// A node's models, and the adding and removing of them.
#[async_trait]
pub trait ModelCatalog: Models {
    /// Offers a model. Adding it again from the same path answers what is there.
    ///
    /// # Errors
    /// [`ErrorCode::ModelExists`] when another has the name; what is wrong with its file.
    async fn add(&self, new: NewModel) -> Result<ModelView, Failure>;

    /// Every model, by name.
    async fn views(&self) -> Vec<ModelView>;

    /// Stops offering a model; work in hand with it goes on to its end.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`].
    async fn remove(&self, id: &ModelId) -> Result<(), Failure>;
}

/// How a model is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelState {
    /// It is being loaded.
    Loading,
    /// It can be used.
    Ready(Box<ModelCard>),
    /// It could not be loaded.
    Failed(String),
}

/// A model as it is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelView {
    /// Its name.
    pub id: ModelId,
    /// Where its file came from, for people.
    pub from: String,
    /// Where its file is.
    pub path: PathBuf,
    /// How many nodes should have it.
    pub replicas: Replicas,
    /// How it is doing: ready as soon as one node has it.
    pub state: ModelState,
    /// The nodes of a cluster that have it, or should; empty for a node that is alone.
    pub placed: Vec<PlacedReplica>,
    /// Why there are fewer replicas than there should be; empty when there are enough.
    pub missing: String,
}

/// A model on one node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedReplica {
    /// The node.
    pub node: NodeId,
    /// The device on that node.
    pub device: String,
    /// How it is doing there.
    pub state: ModelStatus,
}

/// Models that a loader opens on the devices of one node, kept in the store by name.
pub struct StoredModels {
    store: Arc<dyn Store>,
    loader: Arc<dyn ModelLoader>,
    devices: Devices,
    slots: RwLock<BTreeMap<ModelId, Slot>>,
}

struct Slot {
    row: ModelOffer,
    state: SlotState,
}

enum SlotState {
    Loading,
    Ready(Arc<dyn Model>),
    Failed(String),
}

impl StoredModels {
    /// An empty catalog; [`restore`](Self::restore) brings back what the store has.
    pub fn new(store: Arc<dyn Store>, loader: Arc<dyn ModelLoader>, devices: impl Into<Devices>) -> Self {
        Self { store, loader, devices: devices.into(), slots: RwLock::default() }
    }

    /// Loads every model that was offered before. One that cannot be loaded any more is shown as failed.
    ///
    /// # Errors
    /// The store's.
    pub async fn restore(&self, progress: &ProgressSink) -> Result<(), StoreError> {
        let range = &ModelOffer::rows().snapshot();
        let (found, _) = self.store.run(|txn| async move { ModelOffer::page(&txn, range.clone()).await }).await?;
        for (id, row) in &found {
            self.put(id, row.clone(), SlotState::Loading);
        }
        for (id, row) in found {
            let state = match self.load(&id, &row, progress).await {
                Ok(model) => SlotState::Ready(model),
                Err(error) => {
                    tracing::warn!(model = %id, %error, "a model could not be loaded again");
                    SlotState::Failed(error.to_string())
                }
            };
            self.put(&id, row, state);
        }
        Ok(())
    }

    /// Adds a model as [`ModelCatalog::add`] does, and tells how loading goes.
    ///
    /// # Errors
    /// As [`ModelCatalog::add`].
    pub async fn add_with_progress(&self, new: NewModel, progress: &ProgressSink) -> Result<ModelView, Failure> {
        let id = new.source.id.clone();
        let row = ModelOffer::from(new);
        if let Some(found) = self.claim(&id, &row)? {
            return Ok(found);
        }
        let loaded = self.load(&id, &row, progress).await;
        let model = match loaded {
            Ok(model) => model,
            Err(error) => {
                self.slots.write().remove(&id);
                return Err(error.into());
            }
        };
        // The file must be the same after a restart, because receipts name its hash.
        let card = model.card();
        let row = ModelOffer { hash: Some(card.hash), card: Some(card.clone()), ..row };
        let (key, kept) = (&ModelOffer::key(&id), &row);
        let saved = self.store.run(|txn| async move { txn.save(key, kept) }).await;
        if let Err(error) = saved {
            self.slots.write().remove(&id);
            return Err(error.into());
        }
        self.put(&id, row, SlotState::Ready(model));
        self.view(&id)
    }

    /// Takes the name, or gives the model that has it when it is the same.
    fn claim(&self, id: &ModelId, row: &ModelOffer) -> Result<Option<ModelView>, Failure> {
        let mut slots = self.slots.write();
        match slots.get(id) {
            Some(slot) if matches!(slot.state, SlotState::Ready(_)) && slot.row.path == row.path => {
                Ok(Some(view(id, slot)))
            }
            Some(slot) if !matches!(slot.state, SlotState::Failed(_)) => {
                let path = slot.row.path.display();
                let message = format!("there is a model {id} already, from {path}; remove it first");
                Err(Failure::new(ErrorCode::ModelExists, message).with("model", id))
            }
            _ => {
                slots.insert(id.clone(), Slot { row: row.clone(), state: SlotState::Loading });
                Ok(None)
            }
        }
    }

    async fn load(
        &self,
        id: &ModelId,
        row: &ModelOffer,
        progress: &ProgressSink,
    ) -> Result<Arc<dyn Model>, ModelError> {
        if let Some(only) = self.devices.only() {
            return self.loader.load(row.source(id), Arc::clone(only), Arc::clone(progress)).await;
        }
        let card = match &row.card {
            Some(card) => card.clone(),
            None => self.loader.inspect(row.source(id)).await?,
        };
        let mut refused = None;
        for device in self.devices.ranked(&card) {
            match self.loader.load(row.source(id), Arc::clone(device), Arc::clone(progress)).await {
                Err(error) if is_of_the_device(&error) => {
                    tracing::warn!(model = %id, device = device.name(), %error, "a model is not on this device");
                    refused.get_or_insert(error);
                }
                other => return other,
            }
        }
        Err(refused.unwrap_or_else(|| ModelError::Unsuited { id: id.clone(), operation: "run on this node".into() }))
    }

    fn put(&self, id: &ModelId, row: ModelOffer, state: SlotState) {
        self.slots.write().insert(id.clone(), Slot { row, state });
    }

    fn view(&self, id: &ModelId) -> Result<ModelView, Failure> {
        let slots = self.slots.read();
        slots.get(id).map(|slot| view(id, slot)).ok_or_else(|| ModelError::NotFound { id: id.clone() }.into())
    }
}

/// Whether another device may do.
const fn is_of_the_device(error: &ModelError) -> bool {
    matches!(error, ModelError::DeviceMemory { .. } | ModelError::DeviceFailed { .. } | ModelError::Unsuited { .. })
}

fn view(id: &ModelId, slot: &Slot) -> ModelView {
    let state = match &slot.state {
        SlotState::Loading => ModelState::Loading,
        SlotState::Ready(model) => ModelState::Ready(Box::new(model.card().clone())),
        SlotState::Failed(why) => ModelState::Failed(why.clone()),
    };
    let ModelOffer { path, from, replicas, .. } = slot.row.clone();
    ModelView { id: id.clone(), from, path, replicas, state, placed: Vec::new(), missing: String::new() }
}

#[async_trait]
impl Models for StoredModels {
    async fn get(&self, id: &ModelId) -> Result<Arc<dyn Model>, ModelError> {
        match self.slots.read().get(id).map(|slot| &slot.state) {
            Some(SlotState::Ready(model)) => Ok(Arc::clone(model)),
            Some(SlotState::Loading) => Err(ModelError::Busy { id: id.clone(), reason: "it is loading".to_owned() }),
            Some(SlotState::Failed(why)) => Err(ModelError::Failed { what: why.clone() }),
            None => Err(ModelError::NotFound { id: id.clone() }),
        }
    }

    async fn list(&self) -> Vec<ModelId> {
        self.slots.read().keys().cloned().collect()
    }

    fn status(&self, id: &ModelId) -> Option<ModelStatus> {
        self.slots.read().get(id).map(|slot| match &slot.state {
            SlotState::Loading => ModelStatus::Loading,
            SlotState::Ready(model) => ModelStatus::ready(model.as_ref()),
            SlotState::Failed(why) => ModelStatus::Failed { why: why.clone() },
        })
    }

    fn devices(&self) -> Vec<DeviceSnapshot> {
        self.devices.snapshots()
    }
}

#[async_trait]
impl ModelCatalog for StoredModels {
    async fn add(&self, new: NewModel) -> Result<ModelView, Failure> {
        let nobody: ProgressSink = Arc::new(|_| ());
        self.add_with_progress(new, &nobody).await
    }

    async fn views(&self) -> Vec<ModelView> {
        self.slots.read().iter().map(|(id, slot)| view(id, slot)).collect()
    }

    async fn remove(&self, id: &ModelId) -> Result<(), Failure> {
        self.view(id)?;
        let key = &ModelOffer::key(id);
        self.store.run(|txn| async move { txn.clear(key) }).await?;
        self.slots.write().remove(id);
        Ok(())
    }
}

impl fmt::Debug for StoredModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredModels").field("models", &self.slots.read().len()).finish_non_exhaustive()
    }
}

impl Steward {
    /// Brings the entities of devices and models into memory, so that an operator sees them.
    pub(super) async fn wake_models(&self) -> Result<(), Failure> {
        let models = &self.parts().models;
        for device in models.devices() {
            let name = EntityId::new(&device.name).map_err(|error| Failure::field("device", error.to_string()))?;
            self.host().tell::<Device>(&name, DeviceRequest::Memory)?;
        }
        for id in models.list().await {
            self.host().tell::<ModelReplica>(&EntityId::from(&id), ModelRequest::Status)?;
        }
        Ok(())
    }

    /// Every model, by name.
    pub async fn models(&self) -> Vec<ModelView> {
        self.parts().models.views().await
    }

    /// One model.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`].
    pub async fn model(&self, id: &ModelId) -> Result<ModelView, Failure> {
        let found = self.models().await.into_iter().find(|model| model.id == *id);
        found.ok_or_else(|| ModelError::NotFound { id: id.clone() }.into())
    }

    /// Offers a model; see [`ModelCatalog::add`].
    ///
    /// # Errors
    /// As [`ModelCatalog::add`].
    pub async fn add_model(&self, new: impl Into<NewModel>) -> Result<ModelView, Failure> {
        let added = self.parts().models.add(new.into()).await?;
        self.host().tell::<ModelReplica>(&EntityId::from(&added.id), ModelRequest::Status)?;
        Ok(added)
    }

    /// Stops offering a model.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`].
    pub async fn remove_model(&self, id: &ModelId) -> Result<(), Failure> {
        self.parts().models.remove(id).await?;
        self.host().stop(ModelReplica::KIND, &EntityId::from(id), self.deadline()).await?;
        Ok(())
    }
}
