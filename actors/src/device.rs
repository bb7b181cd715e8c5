//! A device as an entity: its memory, and which models and sequences took how much of it; and why it failed, once it has.
//!
//! The memory is accounted where it is taken, in `steward_inference::DeviceBudget`, and who runs something on it and
//! finds it broken notes it there; what stands here only looks.

use std::sync::Arc;

use metrics::gauge;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_inference::DeviceSnapshot;

use crate::host::{Context, Entity, EntityId, Fault, Placement, Reply};
use crate::model::Models;

/// One device of this node.
#[derive(Debug)]
pub struct Device {
    name: EntityId,
    models: Arc<dyn Models>,
}

/// What can be asked of a device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum DeviceRequest {
    /// What its memory is used for.
    Memory,
}

/// What a device answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceResponse {
    /// What its memory is used for; none when this node has no device of the name.
    Memory(Option<DeviceSnapshot>),
}

impl Device {
    fn snapshot(&self) -> Option<DeviceSnapshot> {
        self.models.devices().into_iter().find(|device| device.name == self.name.as_str())
    }
}

/// Sets the gauges of these devices.
#[expect(clippy::cast_precision_loss, reason = "2^53 bytes are more than a device has")]
pub(crate) fn show_metrics(devices: &[DeviceSnapshot]) {
    for device in devices {
        let name = || device.name.clone();
        gauge!("steward_device_memory_bytes", "device" => name()).set(device.total_bytes as f64);
        gauge!("steward_device_used_bytes", "device" => name()).set(device.used_bytes as f64);
        gauge!("steward_device_failed", "device" => name()).set(f64::from(u8::from(device.failure.is_some())));
    }
}

impl Entity for Device {
    const KIND: &'static str = "device";
    const RESIDENT: bool = true;
    const PLACEMENT: Placement = Placement::Node;
    type Environment = Arc<dyn Models>;
    type Request = DeviceRequest;
    type Response = DeviceResponse;
    type Event = ();

    async fn activate(id: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        Ok(Self { name: id, models: Arc::clone(context.environment()) })
    }

    async fn handle(
        &mut self,
        request: DeviceRequest,
        reply: Reply<DeviceResponse>,
        _: &Context<Self>,
    ) -> Result<(), Fault> {
        match request {
            DeviceRequest::Memory => reply.send(DeviceResponse::Memory(self.snapshot())),
        }
        Ok(())
    }

    async fn on_event(&mut self, (): (), _: &Context<Self>) -> Result<(), Fault> {
        Ok(())
    }

    fn observe(&self) -> Value {
        serde_json::to_value(self.snapshot()).unwrap_or_else(|error| json!({ "unreadable": error.to_string() }))
    }

    fn is_idle(&self) -> bool {
        true
    }
}
