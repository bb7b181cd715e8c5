//! A node that serves on a port of its own, and the clients of its services.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use steward_actors::receipt_log::LogIdentity;
use steward_actors::service::{NodeParts, StoredModels};
use steward_adapters::NoHttp;
use steward_api::proto::google_rpc::{BadRequest, ErrorInfo, Status as RpcStatus};
use steward_api::proto::v1;
use steward_api::{ApiConfig, serve};
use steward_inference::{
    DeviceBudget, Model, ModelCard, ModelError, ModelLoader, ModelSource, ProgressSink, ScriptedLoader,
};
use steward_storage::{MemoryStore, Store};
use steward_types::{Clock, SystemClock, SystemEntropy};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Text of many tokens.
pub fn long_text() -> String {
    (0..4000).map(|number| format!("word{number} ")).collect()
}

const SCRIPTED: ScriptedLoader =
    ScriptedLoader::with_rules(|model| model.answering("count", "one two three four").answering("long", long_text()));

/// Opens every path as a scripted model that echoes, but one.
#[derive(Debug)]
struct Scripted;

#[async_trait]
impl ModelLoader for Scripted {
    async fn inspect(&self, source: ModelSource) -> Result<ModelCard, ModelError> {
        SCRIPTED.inspect(source).await
    }

    async fn load(
        &self,
        source: ModelSource,
        device: Arc<DeviceBudget>,
        progress: ProgressSink,
    ) -> Result<Arc<dyn Model>, ModelError> {
        if source.path.ends_with("corrupt.gguf") {
            return Err(ModelError::FileInvalid { path: source.path, what: "no magic".to_owned() });
        }
        SCRIPTED.load(source, device, progress).await
    }
}

pub type Authorized = InterceptedService<Channel, Bearer>;

/// Puts a key on each request.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

/// A node that serves.
pub struct Node {
    pub address: String,
    pub root: String,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinSet<()>,
}

impl Node {
    /// A node with the models `echo`.
    pub async fn start() -> Self {
        Self::start_with(ApiConfig::default()).await
    }

    pub async fn start_with(config: ApiConfig) -> Self {
        Self::start_at(config, IpAddr::from([127, 0, 0, 1])).await
    }

    pub async fn start_at(config: ApiConfig, listen: IpAddr) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::with_clock(Arc::clone(&clock)));
        let models = StoredModels::new(Arc::clone(&store), Arc::new(Scripted), DeviceBudget::new("cpu", 1 << 30));
        let log = Arc::new(LogIdentity::new("test.example".to_owned(), [7; 32]).unwrap());
        let parts = NodeParts::new(store, clock, Arc::new(SystemEntropy), Arc::new(models), Arc::new(NoHttp), log);
        let steward = parts.start().await.unwrap();
        steward.add_model(ModelSource::new("echo".parse().unwrap(), "echo")).await.unwrap();
        let root = steward.bootstrap_key(None).await.unwrap().reveal();
        let listener = TcpListener::bind((listen, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let stopped = async { drop(stopped.await) };
            serve(listener, steward, config, stopped).await.unwrap();
        });
        Self { address, root, stop: Some(stop), serving }
    }

    /// Stops the server and waits until it has ended.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        while let Some(ended) = self.serving.join_next().await {
            ended.unwrap();
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A client with this key.
    pub async fn client(&self, key: &str) -> Client {
        let channel = Endpoint::from_shared(self.url("")).unwrap().connect().await.unwrap();
        Client::new(channel, key)
    }

    /// A project with a budget of one unit, and an admin's client for it.
    pub async fn project(&self, name: &str) -> (Client, String) {
        let root = self.client(&self.root).await;
        let create =
            v1::CreateProjectRequest { name: name.to_owned(), limit_micros: Some(1_000_000), ..Default::default() };
        root.projects().create(create).await.unwrap();
        let key = self.key(name, v1::KeyRole::Admin).await;
        (self.client(&key).await, key)
    }

    /// A new key of a project.
    pub async fn key(&self, project: &str, role: v1::KeyRole) -> String {
        let root = self.client(&self.root).await;
        let create = v1::CreateKeyRequest { project: project.to_owned(), role: role.into(), ..Default::default() };
        root.projects().create_key(create).await.unwrap().into_inner().secret
    }
}

/// Every service for one key.
#[derive(Clone)]
pub struct Client {
    pub channel: Channel,
    bearer: Bearer,
}

macro_rules! services {
    ($($name:ident: $module:ident::$client:ident;)*) => {
        impl Client {
            $(pub fn $name(&self) -> v1::$module::$client<Authorized> {
                v1::$module::$client::with_interceptor(self.channel.clone(), self.bearer.clone())
            })*
        }
    };
}

services! {
    projects: projects_client::ProjectsClient;
    models: models_client::ModelsClient;
    agents: agents_client::AgentsClient;
    modules: modules_client::ModulesClient;
    sessions: sessions_client::SessionsClient;
    approvals: approvals_client::ApprovalsClient;
    budgets: budgets_client::BudgetsClient;
    receipts: receipts_client::ReceiptsClient;
    triggers: triggers_client::TriggersClient;
    chains: chains_client::ChainsClient;
    actors: actors_client::ActorsClient;
    operations: operations_client::OperationsClient;
}

impl Client {
    pub fn new(channel: Channel, key: &str) -> Self {
        let bearer = (!key.is_empty()).then(|| format!("Bearer {key}").parse().unwrap());
        Self { channel, bearer: Bearer(bearer) }
    }

    /// Deploys an agent of one script.
    pub async fn deploy(&self, name: &str, script: &str) -> v1::DeployAgentResponse {
        let request = v1::DeployAgentRequest { project: String::new(), bundle: Some(bundle(name, script)) };
        self.agents().deploy(request).await.unwrap().into_inner()
    }

    /// Opens a session with an agent.
    pub async fn open(&self, agent: &str) -> v1::Session {
        let request = v1::OpenSessionRequest { agent: agent.to_owned(), ..Default::default() };
        self.sessions().open(request).await.unwrap().into_inner()
    }

    /// Sends a text and waits for the end of its turn.
    pub async fn run(&self, session: &str, text: &str) -> v1::RunResponse {
        let request = v1::RunRequest { session: session.to_owned(), message: message(text), ..Default::default() };
        self.sessions().run(request).await.unwrap().into_inner()
    }
}

pub fn bundle(name: &str, script: &str) -> v1::Bundle {
    let manifest_toml = format!("name = \"{name}\"\n[models]\nchat = \"echo\"\nembed = \"echo\"\n");
    v1::Bundle { files: [("agent.rhai".to_owned(), script.to_owned())].into(), manifest_toml }
}

pub fn message(text: &str) -> Option<v1::Message> {
    Some(v1::Message { text: text.to_owned(), data_json: String::new() })
}

/// The machine-readable reason of a status.
pub fn reason(status: &Status) -> String {
    details::<ErrorInfo>(status, "ErrorInfo").map(|info| info.reason).unwrap_or_default()
}

/// The fields that a status names.
pub fn fields(status: &Status) -> Vec<String> {
    let wrong = details::<BadRequest>(status, "BadRequest").unwrap_or_default();
    wrong.field_violations.into_iter().map(|violation| violation.field).collect()
}

/// A detail of a status.
pub fn details<M: prost::Message + Default>(status: &Status, name: &str) -> Option<M> {
    let whole: RpcStatus = prost::Message::decode(status.details()).ok()?;
    let url = format!("type.googleapis.com/google.rpc.{name}");
    let found = whole.details.into_iter().find(|detail| detail.type_url == url)?;
    M::decode(found.value.as_slice()).ok()
}
