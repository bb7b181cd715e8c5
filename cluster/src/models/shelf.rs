//! The models that this node has, loads, or could not load. It knows nothing of other nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use steward_actors::model::{ModelOffer, ModelStatus};
use steward_inference::{
    DeviceBudget, DeviceKind, DeviceSnapshot, Devices, Model, ModelError, ModelLoader, ProgressSink,
};
use steward_types::limits::{
    MODEL_FAILURE_CHARS_MAX, MODEL_LOAD_ATTEMPTS_MAX, MODEL_LOAD_BACKOFF, REPLICA_ACTIVE_GPU_MAX, REPLICA_ACTIVE_MAX,
};
use steward_types::{Clock, ModelId};

use super::board::{DeviceReport, ReplicaReport, ReplicaState};

/// The models of one node, each on one of its devices.
pub(super) struct Shelf {
    pub(super) loader: Arc<dyn ModelLoader>,
    devices: Devices,
    slots: RwLock<BTreeMap<ModelId, Slot>>,
}

#[derive(Debug)]
struct Slot {
    revision: u64,
    /// On which device.
    device: String,
    state: SlotState,
    /// Devices that could not have it before, of this revision.
    refused: Vec<String>,
}

/// Which revision of a model there should be, and on which device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wished {
    pub(super) revision: u64,
    pub(super) device: String,
}

#[derive(Debug)]
enum SlotState {
    Loading,
    Ready(Arc<dyn Model>),
    /// Taken off; what is in hand with it goes on to its end.
    Leaving(Weak<dyn Model>),
    Failed(String),
}

impl Shelf {
    pub(super) fn new(loader: Arc<dyn ModelLoader>, devices: Devices) -> Self {
        Self { loader, devices, slots: RwLock::default() }
    }

    /// The model, when it is ready here.
    pub(super) fn ready(&self, id: &ModelId) -> Option<Arc<dyn Model>> {
        match &self.slots.read().get(id)?.state {
            SlotState::Ready(model) => Some(Arc::clone(model)),
            _ => None,
        }
    }

    pub(super) fn status(&self, id: &ModelId) -> Option<ModelStatus> {
        match &self.slots.read().get(id)?.state {
            SlotState::Loading => Some(ModelStatus::Loading),
            SlotState::Ready(model) => Some(ModelStatus::ready(model.as_ref())),
            SlotState::Leaving(_) => None,
            SlotState::Failed(why) => Some(ModelStatus::Failed { why: why.clone() }),
        }
    }

    pub(super) fn devices(&self) -> Vec<DeviceSnapshot> {
        self.devices.snapshots()
    }

    /// Keeps the wished models only, each of the revision and on the device that is wished, and gives back those that are
    /// to be loaded. What is being loaded and is not wished any more is forgotten when it is there.
    pub(super) fn arrange(&self, wished: &BTreeMap<ModelId, Wished>) -> Vec<ModelId> {
        let mut slots = self.slots.write();
        slots.values_mut().for_each(Slot::follow);
        let mut refused = refusals(&slots, wished);
        slots.retain(|id, slot| {
            let is_wished = wished.get(id).is_some_and(|wished| slot.is(wished));
            match &slot.state {
                SlotState::Ready(model) if !is_wished => {
                    slot.state = SlotState::Leaving(Arc::downgrade(model));
                    true
                }
                SlotState::Leaving(model) => match model.upgrade() {
                    Some(model) if is_wished => {
                        slot.state = SlotState::Ready(model);
                        true
                    }
                    model => model.is_some(),
                },
                // Kept, so that the plan knows that this node cannot have it.
                SlotState::Failed(_) => is_wished || !wished.contains_key(id),
                _ => is_wished,
            }
        });
        let is_free = |id: &ModelId| match slots.get(id).map(|slot| &slot.state) {
            None => true,
            Some(SlotState::Leaving(model)) => model.strong_count() == 0,
            Some(_) => false,
        };
        let missing: Vec<ModelId> = wished.keys().filter(|id| is_free(id)).cloned().collect();
        for id in &missing {
            let Wished { revision, device } = wished[id].clone();
            let refused = refused.remove(id).unwrap_or_default();
            slots.insert(id.clone(), Slot { revision, device, state: SlotState::Loading, refused });
        }
        missing
    }

    /// Forgets what could not be loaded of models that are not offered any more, or are offered anew.
    pub(super) fn forgive(&self, offered: &BTreeMap<ModelId, ModelOffer>) {
        self.slots.write().retain(|id, slot| {
            let is_offered = offered.get(id).is_some_and(|offer| offer.revision == slot.revision);
            is_offered || !matches!(slot.state, SlotState::Failed(_))
        });
    }

    /// Loads a model that [`arrange`](Self::arrange) named, with some tries, and puts it on the shelf if it is still
    /// wished there.
    pub(super) async fn load(&self, id: ModelId, offer: ModelOffer, device: String, clock: &dyn Clock) {
        let loaded = match self.devices.named(&device) {
            Some(budget) => self.try_to_load(&id, &offer, budget, clock).await,
            None => Err(ModelError::Failed { what: format!("this node has no device {device}") }),
        };
        let state = match loaded {
            Ok(model) => SlotState::Ready(model),
            Err(error) => {
                tracing::warn!(model = %id, %error, "a model could not be loaded");
                SlotState::Failed(error.to_string().chars().take(MODEL_FAILURE_CHARS_MAX).collect())
            }
        };
        let mut slots = self.slots.write();
        let wished = slots
            .get_mut(&id)
            .filter(|slot| slot.revision == offer.revision && slot.device == device)
            .filter(|slot| matches!(slot.state, SlotState::Loading));
        if let Some(slot) = wished {
            slot.state = state;
        }
    }

    async fn try_to_load(
        &self,
        id: &ModelId,
        offer: &ModelOffer,
        device: &Arc<DeviceBudget>,
        clock: &dyn Clock,
    ) -> Result<Arc<dyn Model>, ModelError> {
        let silent: ProgressSink = Arc::new(|_| {});
        let mut pause = MODEL_LOAD_BACKOFF;
        let mut attempt = 1;
        loop {
            let loaded = self.loader.load(offer.source(id), Arc::clone(device), Arc::clone(&silent)).await;
            match loaded {
                Err(error) if attempt < MODEL_LOAD_ATTEMPTS_MAX => {
                    tracing::info!(model = %id, attempt, %error, "loading a model failed; it is tried again");
                    clock.sleep(pause).await;
                    (attempt, pause) = (attempt + 1, pause * 2);
                }
                other => return other,
            }
        }
    }

    /// What others are told of the devices.
    pub(super) fn device_reports(&self) -> Vec<DeviceReport> {
        let slots = self.slots.read();
        let busy = |name: &str| -> u64 {
            let on_it = slots.values().filter(|slot| slot.device() == name);
            let count = |slot: &Slot| match &slot.state {
                SlotState::Ready(model) => {
                    let load = model.load();
                    u64::from(load.active) + u64::from(load.waiting)
                }
                _ => 0,
            };
            on_it.map(count).sum()
        };
        let report = |device: DeviceSnapshot| {
            let at_once = match device.kind {
                DeviceKind::Processor => REPLICA_ACTIVE_MAX,
                DeviceKind::Gpu => REPLICA_ACTIVE_GPU_MAX,
            };
            let permille = busy(&device.name).saturating_mul(1_000) / at_once as u64;
            DeviceReport {
                name: device.name,
                kind: device.kind,
                total_bytes: device.total_bytes,
                used_bytes: device.used_bytes,
                load_permille: u32::try_from(permille).unwrap_or(u32::MAX),
                failure: device.failure.map(|why| why.chars().take(MODEL_FAILURE_CHARS_MAX).collect()),
            }
        };
        self.devices().into_iter().map(report).collect()
    }

    /// What others are told of the models.
    pub(super) fn replica_reports(&self) -> BTreeMap<ModelId, ReplicaReport> {
        let report = |(id, slot): (&ModelId, &Slot)| {
            let state = match &slot.state {
                SlotState::Loading => ReplicaState::Loading,
                SlotState::Ready(model) => ReplicaState::Ready { load: model.load() },
                SlotState::Leaving(_) => ReplicaState::Leaving,
                SlotState::Failed(why) => ReplicaState::Failed { why: why.clone() },
            };
            let (revision, device, refused) = (slot.revision, slot.device(), slot.refused.clone());
            (id.clone(), ReplicaReport { device, revision, state, refused })
        };
        self.slots.read().iter().map(report).collect()
    }

    /// Whether something is about to become free.
    pub(super) fn is_clearing(&self) -> bool {
        self.slots.read().values().any(|slot| matches!(slot.state, SlotState::Leaving(_)))
    }
}

impl Slot {
    fn is(&self, wished: &Wished) -> bool {
        self.revision == wished.revision && self.device == wished.device
    }

    /// The device that it is on now: a model leaves one that fails by itself.
    fn device(&self) -> String {
        let model = match &self.state {
            SlotState::Ready(model) => Some(Arc::clone(model)),
            SlotState::Leaving(model) => model.upgrade(),
            SlotState::Loading | SlotState::Failed(_) => None,
        };
        model.and_then(|model| model.device()).unwrap_or_else(|| self.device.clone())
    }

    fn follow(&mut self) {
        self.device = self.device();
    }
}

/// For each model that could not be on one device and is wished on another: the devices that refused it so far.
fn refusals(slots: &BTreeMap<ModelId, Slot>, wished: &BTreeMap<ModelId, Wished>) -> BTreeMap<ModelId, Vec<String>> {
    let moved = slots.iter().filter(|(id, slot)| {
        let elsewhere = |wished: &Wished| wished.revision == slot.revision && wished.device != slot.device;
        matches!(slot.state, SlotState::Failed(_)) && wished.get(*id).is_some_and(elsewhere)
    });
    let all = |slot: &Slot| slot.refused.iter().chain([&slot.device]).cloned().collect();
    moved.map(|(id, slot)| (id.clone(), all(slot))).collect()
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("slots", &self.slots.read().len()).finish_non_exhaustive()
    }
}
