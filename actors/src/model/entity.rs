//! A model as an entity: what an operator sees of a replica, its queue and how it is doing.
//!
//! The replica itself serves from its own thread and the catalog holds its handle; what stands here only looks, so that
//! it can neither delay a generation nor lose one when it restarts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_types::ModelId;

use super::{ModelStatus, Models};
use crate::host::{Context, Entity, EntityId, Fault, Placement, Reply};

/// One model of this node.
#[derive(Debug)]
pub struct ModelReplica {
    id: ModelId,
    models: Arc<dyn Models>,
}

/// What can be asked of a model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ModelRequest {
    /// How it is doing.
    Status,
}

/// What a model answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelResponse {
    /// How it is doing; none when this node offers no model of the name.
    Status(Option<ModelStatus>),
}

impl Entity for ModelReplica {
    const KIND: &'static str = "model";
    const RESIDENT: bool = true;
    const PLACEMENT: Placement = Placement::Node;
    type Environment = Arc<dyn Models>;
    type Request = ModelRequest;
    type Response = ModelResponse;
    type Event = ();

    async fn activate(id: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        let id = id.as_str().parse().map_err(Fault::corrupt)?;
        Ok(Self { id, models: Arc::clone(context.environment()) })
    }

    async fn handle(
        &mut self,
        request: ModelRequest,
        reply: Reply<ModelResponse>,
        _: &Context<Self>,
    ) -> Result<(), Fault> {
        match request {
            ModelRequest::Status => reply.send(ModelResponse::Status(self.models.status(&self.id))),
        }
        Ok(())
    }

    async fn on_event(&mut self, (): (), _: &Context<Self>) -> Result<(), Fault> {
        Ok(())
    }

    fn observe(&self) -> Value {
        let status = self.models.status(&self.id);
        serde_json::to_value(status).unwrap_or_else(|error| json!({ "unreadable": error.to_string() }))
    }

    fn is_idle(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use steward_inference::{DeviceBudget, DeviceSnapshot, Model, ModelError, ScriptedModel};
    use steward_types::{ManualClock, Timestamp};

    use super::*;
    use crate::device::{Device, DeviceRequest, DeviceResponse};
    use crate::host::{EntityState, Host, HostBuilder};
    use crate::lease::Unleased;
    use crate::model::LoadedModels;

    /// Loaded models on a device.
    #[derive(Debug)]
    struct OnDevice(LoadedModels, Arc<DeviceBudget>);

    #[async_trait::async_trait]
    impl Models for OnDevice {
        async fn get(&self, id: &ModelId) -> Result<Arc<dyn Model>, ModelError> {
            self.0.get(id).await
        }
        async fn list(&self) -> Vec<ModelId> {
            self.0.list().await
        }
        fn status(&self, id: &ModelId) -> Option<ModelStatus> {
            self.0.status(id)
        }
        fn devices(&self) -> Vec<DeviceSnapshot> {
            vec![self.1.snapshot()]
        }
    }

    async fn start() -> (Host, Arc<DeviceBudget>) {
        let device = DeviceBudget::new("cpu", 100);
        let loaded = LoadedModels::from_iter([ScriptedModel::echo("echo".parse().unwrap()).into_model()]);
        let models: Arc<dyn Models> = Arc::new(OnDevice(loaded, Arc::clone(&device)));
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let builder = HostBuilder::new(clock, Arc::new(Unleased));
        let builder = builder.register::<ModelReplica>(Arc::clone(&models)).register::<Device>(models);
        (builder.start().await.unwrap(), device)
    }

    #[tokio::test]
    async fn a_model_tells_its_card_and_its_load() {
        let (host, _) = start().await;
        let ask = async |name: &str| {
            let id = EntityId::new(name).unwrap();
            host.ask::<ModelReplica>(&id, ModelRequest::Status, host.deadline_default()).await.unwrap()
        };
        let ModelResponse::Status(Some(ModelStatus::Ready { card, .. })) = ask("echo").await else {
            panic!("the model is ready");
        };
        assert_eq!(card.id.as_str(), "echo");
        assert_eq!(ask("other").await, ModelResponse::Status(None));
        let seen = host.inspect("model", &EntityId::new("echo").unwrap(), host.deadline_default()).await.unwrap();
        assert_eq!(seen.state, EntityState::Active);
        assert_eq!(seen.entity.unwrap()["state"], "ready");
        host.drain().await;
    }

    #[tokio::test]
    async fn a_device_tells_who_takes_its_memory() {
        let (host, device) = start().await;
        let taken = device.reserve("echo cache", 40).unwrap();
        let id = EntityId::new("cpu").unwrap();
        let answer = host.ask::<Device>(&id, DeviceRequest::Memory, host.deadline_default()).await.unwrap();
        let DeviceResponse::Memory(Some(memory)) = answer else { panic!("the device is there") };
        assert_eq!((memory.used_bytes, memory.owners["echo cache"]), (taken.bytes(), 40));
        host.drain().await;
    }
}
