//! The world of a test: one store, and nodes with small devices, whose models have their size in their file's name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use steward_actors::model::{Models, NewModel, Replicas};
use steward_actors::receipt_log::LogIdentity;
use steward_actors::service::{Failure, ModelCatalog, ModelView, NodeParts, Steward};
use steward_adapters::NoHttp;
use steward_cluster::link::ClusterAuthority;
use steward_cluster::models::{Board, ModelParts};
use steward_cluster::{ClusterModels, NodeState, Seat};
use steward_inference::{
    DeviceBudget, Embedded, GenerateRequest, Generation, Model, ModelCard, ModelError, ModelLoader, ModelSource,
    ProgressSink, Prompt, ReplicaLoad, Reservation, ScriptedModel,
};
use steward_storage::{MemoryStore, Store};
use steward_types::{Clock, Entropy, ModelId, NodeId, SystemClock, SystemEntropy};

use super::seat;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// One store, and the authority of its nodes.
pub struct World {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    authority: ClusterAuthority,
}

/// A node. Dropping it kills it.
pub struct TestNode {
    pub id: NodeId,
    pub seat: Seat,
    pub models: Arc<ClusterModels>,
    pub steward: Steward,
    pub loader: Arc<Files>,
    pub device: Arc<DeviceBudget>,
}

impl World {
    pub fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = Arc::new(MemoryStore::with_clock(Arc::clone(&clock)));
        let authority = ClusterAuthority::create(clock.now()).unwrap();
        Self { store, clock, authority }
    }

    /// A node whose device has so many bytes and whose disk has these models; the numbers sort the nodes.
    pub async fn node(&self, number: u8, device_bytes: u64, files: &[&str]) -> TestNode {
        let (id, store, clock) = (NodeId::from_bytes([number; 16]), Arc::clone(&self.store), Arc::clone(&self.clock));
        let seat = seat::take(&self.authority, number, &store, &clock).await;
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let device = DeviceBudget::new("gpu0", device_bytes);
        let loader = Arc::new(Files::new(files));
        let parts = ModelParts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            loader: Arc::clone(&loader) as _,
            devices: Arc::clone(&device).into(),
        };
        let models = ClusterModels::start(&seat, parts).await.unwrap();
        let log = Arc::new(LogIdentity::new("test.example".to_owned(), [7; 32]).unwrap());
        let mut parts = NodeParts::new(store, clock, entropy, Arc::clone(&models) as _, Arc::new(NoHttp), log);
        (parts.lease, parts.router) = (Some(seat.lease()), Some(seat.router()));
        let steward = parts.start().await.unwrap();
        seat.serve(&steward);
        models.show_on(steward.host());
        self.soon("it takes shards", seat.cluster().ready()).await;
        let is_told = |board: &Board| board.living(id).is_some_and(|(member, _)| member.state == NodeState::Up);
        self.soon("its device is known", models.until(is_told)).await;
        TestNode { id, seat, models, steward, loader, device }
    }

    /// Fails the test when the future takes too long.
    pub async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        tokio::select! {
            output = future => output,
            () = self.clock.sleep(PATIENCE) => panic!("in vain: {what}"),
        }
    }
}

impl TestNode {
    /// Adds a model that is on its disk.
    pub async fn add(&self, name: &str, replicas: &str) -> Result<ModelView, Failure> {
        let source = ModelSource::new(name.parse().unwrap(), name);
        let replicas: Replicas = replicas.parse().unwrap();
        self.models.add(NewModel { source, replicas }).await
    }

    pub async fn model(&self, name: &str) -> Arc<dyn Model> {
        self.models.get(&id(name)).await.unwrap()
    }

    /// Waits until these nodes have the model ready, and no others.
    pub async fn until_on(&self, world: &World, name: &str, nodes: &[&TestNode]) -> Arc<Board> {
        let wanted: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).collect();
        let what = format!("{name} is on {wanted:?}, not as {:?}", self.models.board());
        let there = |board: &Board| {
            on(board, name) == wanted && board.placed.get(&id(name)).is_some_and(|at| at.len() == wanted.len())
        };
        world.soon(&what, self.models.until(there)).await
    }

    /// As SIGKILL: nothing of it is finished or told to anybody.
    pub async fn kill(self) {
        self.seat.links().stop().await;
    }

    /// Generations that were begun on this node's replicas.
    pub fn begun(&self) -> usize {
        self.loader.begun.load(Ordering::SeqCst)
    }
}

pub fn id(name: &str) -> ModelId {
    name.parse().unwrap()
}

/// The nodes on which a model is ready.
pub fn on(board: &Board, name: &str) -> BTreeSet<NodeId> {
    board.ready(&id(name)).into_iter().map(|(member, _)| member.id).collect()
}

/// The model files of one node. `m-90000` needs so many bytes, about a third of them for its cache.
#[derive(Debug)]
pub struct Files {
    there: Mutex<BTreeSet<String>>,
    begun: Arc<AtomicUsize>,
}

impl Files {
    fn new(names: &[&str]) -> Self {
        Self { there: Mutex::new(names.iter().map(|&name| name.to_owned()).collect()), begun: Arc::default() }
    }

    fn open(&self, source: &ModelSource) -> Result<ScriptedModel, ModelError> {
        let name = source.path.to_str().unwrap();
        if !self.there.lock().contains(name) {
            return Err(ModelError::FileInvalid {
                path: source.path.clone(),
                what: "it is not on this node".to_owned(),
            });
        }
        let bytes: u64 = name.rsplit('-').next().unwrap().parse().unwrap();
        let model = ScriptedModel::echo(source.id.clone());
        let context = u64::from(model.card().context_tokens);
        let cache = bytes / 3 / context;
        Ok(model.weighing(bytes - cache * context, cache))
    }
}

#[async_trait]
impl ModelLoader for Files {
    async fn inspect(&self, source: ModelSource) -> Result<ModelCard, ModelError> {
        Ok(self.open(&source)?.card().clone())
    }

    async fn load(
        &self,
        source: ModelSource,
        device: Arc<DeviceBudget>,
        _: ProgressSink,
    ) -> Result<Arc<dyn Model>, ModelError> {
        let model = self.open(&source)?;
        let memory = device.reserve(format!("{} weights", source.id), model.card().weights_bytes)?;
        Ok(Arc::new(Weighty { model, begun: Arc::clone(&self.begun), _memory: memory }))
    }
}

/// A scripted model that takes memory and is counted.
#[derive(Debug)]
struct Weighty {
    model: ScriptedModel,
    begun: Arc<AtomicUsize>,
    _memory: Reservation,
}

#[async_trait]
impl Model for Weighty {
    fn card(&self) -> &ModelCard {
        self.model.card()
    }
    async fn generate(&self, request: GenerateRequest) -> Result<Generation, ModelError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.model.generate(request).await
    }
    async fn embed(&self, texts: Vec<String>) -> Result<Embedded, ModelError> {
        self.model.embed(texts).await
    }
    async fn count_tokens(&self, prompt: &Prompt) -> Result<u32, ModelError> {
        self.model.count_tokens(prompt).await
    }
    fn load(&self) -> ReplicaLoad {
        self.model.load()
    }
}

/// How often each node began a generation.
pub fn counts(nodes: &[&TestNode]) -> BTreeMap<NodeId, usize> {
    nodes.iter().map(|node| (node.id, node.begun())).collect()
}
