//! The port: what every engine gives, and how a model is opened. Object-safe.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use steward_types::ModelId;

use crate::{DeviceBudget, GenerateRequest, Generation, ModelCard, ModelError, ModelHash, Prompt, Usage};

/// One loaded model. Dropping the last handle unloads it and gives its device memory back.
#[async_trait]
pub trait Model: Send + Sync + fmt::Debug + 'static {
    /// What is known of it.
    fn card(&self) -> &ModelCard;

    /// Starts a generation. It makes no token before it is granted credit. [`ModelError::Busy`] when the queue is full,
    /// [`ModelError::ContextTooLong`] when the prompt leaves no room for a token, [`ModelError::Unsuited`] from an
    /// embedder. Dropping the future or the generation cancels within one token.
    async fn generate(&self, request: GenerateRequest) -> Result<Generation, ModelError>;

    /// Embeds each text into a vector of length 1. At most `EMBED_TEXTS_MAX` texts. [`ModelError::Unsuited`] from a
    /// generator. A text longer than the context is [`ModelError::ContextTooLong`], never cut silently.
    async fn embed(&self, texts: Vec<String>) -> Result<Embedded, ModelError>;

    /// Exactly as many tokens as `generate` (with its template) or, for an embedder, `embed` would count for it.
    async fn count_tokens(&self, prompt: &Prompt) -> Result<u32, ModelError>;

    /// How busy it is now.
    fn load(&self) -> ReplicaLoad;

    /// The device that it is on now, where that can be another than the one that it was loaded on: a model whose device
    /// fails goes on on another one of its node.
    fn device(&self) -> Option<String> {
        None
    }
}

/// How busy one replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplicaLoad {
    /// Generations that make tokens.
    pub active: u32,
    /// Generations that wait for their turn.
    pub waiting: u32,
}

/// Vectors, one a text, and what they took.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// One vector of length 1 for each text, in the order asked.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens read and time taken.
    pub usage: Usage,
}

/// Where a model comes from and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    /// The name it shall have.
    pub id: ModelId,
    /// A file, or a folder of files.
    pub path: PathBuf,
    /// Where it can be had when nothing is at `path`, such as `pypi:…`; may be empty.
    pub origin: String,
    /// Refuse the file unless this is its hash.
    pub hash: Option<ModelHash>,
    /// Use at most this many tokens of context, where the model has more.
    pub context_tokens_max: Option<u32>,
}

impl ModelSource {
    /// A model at `path`, with whatever hash and context its file has.
    pub fn new(id: ModelId, path: impl Into<PathBuf>) -> Self {
        Self { id, path: path.into(), origin: String::new(), hash: None, context_tokens_max: None }
    }
}

/// What loading is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadStage {
    /// Reading the file once to know its hash.
    Hashing,
    /// Checking the header and reserving memory.
    Checking,
    /// Bringing weights to the device.
    Weights,
    /// It can be used.
    Ready,
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadProgress {
    /// What it is at.
    pub stage: LoadStage,
    /// Bytes of this stage that are done.
    pub done_bytes: u64,
    /// Bytes that this stage has.
    pub total_bytes: u64,
}

/// Hears how far loading has come; called on the loading thread, so it must not block.
pub type ProgressSink = Arc<dyn Fn(LoadProgress) + Send + Sync>;

/// Opens models of the kinds that one driver knows.
#[async_trait]
pub trait ModelLoader: Send + Sync + fmt::Debug + 'static {
    /// What the model is, with its file read to know its hash but nothing loaded and no memory taken: so that a place
    /// can be chosen for it. [`ModelError::FileInvalid`] names what is wrong and where.
    async fn inspect(&self, source: ModelSource) -> Result<ModelCard, ModelError>;

    /// Opens a model under `device`'s budget, on a blocking thread. Weights are reserved before they are loaded:
    /// [`ModelError::DeviceMemory`] when they do not fit; [`ModelError::FileInvalid`] names what is wrong and where.
    /// Dropping the future lets the thread end by itself and unloads what it loaded.
    async fn load(
        &self,
        source: ModelSource,
        device: Arc<DeviceBudget>,
        progress: ProgressSink,
    ) -> Result<Arc<dyn Model>, ModelError>;
}
