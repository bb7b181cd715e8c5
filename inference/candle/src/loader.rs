//! Opens models: a GGUF file, or a folder with `model.safetensors`, `config.json` and `tokenizer.json`.
//!
//! The order is fixed: check the header, reserve the memory, read the file for its hash, load the weights. So what is
//! corrupt or too big is refused before anything large is read.

mod folder;
mod gguf_file;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use steward_inference::{
    DeviceBudget, Devices, LoadProgress, LoadStage, Model, ModelCard, ModelError, ModelHash, ModelLoader, ModelSource,
    ProgressSink,
};
use steward_inference_cuda::Gpu;
use steward_types::{Clock, ModelId};

use crate::replica::{FindHome, Home};

/// Bytes that are hashed at a time.
const HASH_CHUNK_BYTES: usize = 1 << 20;
/// How the names of GPUs begin.
const GPU_PREFIX: &str = "cuda:";

/// Opens GGUF files of the llama kind, on the processor or on a GPU, and safetensors folders of the BERT kind, on the
/// processor.
#[derive(Debug, Clone)]
pub struct CandleLoader {
    clock: Arc<dyn Clock>,
    gpus: Vec<Arc<Gpu>>,
    /// Where a generator goes whose device fails.
    devices: Option<Devices>,
}

impl CandleLoader {
    /// A loader whose models measure their time by `clock`, for the processor.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, gpus: Vec::new(), devices: None }
    }

    /// The same for these GPUs too: a budget of a GPU's name stands for it.
    #[must_use]
    pub fn with_gpus(self, gpus: Vec<Arc<Gpu>>) -> Self {
        Self { gpus, ..self }
    }

    /// The same for a node with these devices: a generator whose device fails goes on on the best of the others. Without
    /// it, its generations end with [`ModelError::DeviceFailed`].
    #[must_use]
    pub fn with_devices(self, devices: Devices) -> Self {
        Self { devices: Some(devices), ..self }
    }

    /// The GPU that a device is; none for the processor.
    fn gpu(&self, device: &DeviceBudget) -> Result<Option<&Arc<Gpu>>, ModelError> {
        let found = self.gpus.iter().find(|gpu| gpu.device() == device.name());
        if found.is_none() && device.name().starts_with(GPU_PREFIX) {
            return Err(ModelError::DeviceFailed {
                device: device.name().to_owned(),
                operation: "loading a model".to_owned(),
                what: "this node has not opened it".to_owned(),
            });
        }
        Ok(found)
    }

    /// Opens a model on this thread, which may take seconds. What it is, is told from the file: a folder holds
    /// safetensors, a file is GGUF.
    pub fn open(
        &self,
        source: &ModelSource,
        device: &Arc<DeviceBudget>,
        progress: &ProgressSink,
    ) -> Result<Arc<dyn Model>, ModelError> {
        let loading = Loading { source, progress, clock: &self.clock };
        match (source.path.is_dir(), self.gpu(device)?) {
            (true, None) => loading.folder(device),
            (true, Some(gpu)) => Err(only_on_the_processor(&source.id, gpu)),
            (false, gpu) => loading.gguf(device, gpu, |card| self.find_home(source, card)),
        }
    }

    /// Where else a generator can be, once its device has failed. Receipts name its hash, so the file must be the same.
    fn find_home(&self, source: &ModelSource, card: &ModelCard) -> FindHome {
        let (loader, card) = (self.clone(), card.clone());
        let source = ModelSource { hash: Some(card.hash), ..source.clone() };
        FindHome::new(move || loader.home(&source, &card))
    }

    fn home(&self, source: &ModelSource, card: &ModelCard) -> Result<Home, String> {
        let silent: ProgressSink = Arc::new(|_| {});
        let loading = Loading { source, progress: &silent, clock: &self.clock };
        let mut refusals = Vec::new();
        for device in self.devices.iter().flat_map(|devices| devices.ranked(card)) {
            match self.gpu(device).and_then(|gpu| loading.gguf_home(device, gpu)) {
                Ok(home) => return Ok(home),
                Err(error) => refusals.push(error.to_string()),
            }
        }
        if refusals.is_empty() { Err("there is none that works".to_owned()) } else { Err(refusals.join("; ")) }
    }

    /// Reads what a model is on this thread, which takes as long as reading its file once.
    pub fn card(&self, source: &ModelSource) -> Result<ModelCard, ModelError> {
        let silent: ProgressSink = Arc::new(|_| {});
        let loading = Loading { source, progress: &silent, clock: &self.clock };
        if source.path.is_dir() { loading.folder_card() } else { loading.gguf_card() }
    }
}

#[async_trait]
impl ModelLoader for CandleLoader {
    async fn inspect(&self, source: ModelSource) -> Result<ModelCard, ModelError> {
        let loader = self.clone();
        let reading = tokio::task::spawn_blocking(move || loader.card(&source));
        reading.await.unwrap_or_else(|error| Err(ModelError::Failed { what: error.to_string() }))
    }

    async fn load(
        &self,
        source: ModelSource,
        device: Arc<DeviceBudget>,
        progress: ProgressSink,
    ) -> Result<Arc<dyn Model>, ModelError> {
        let loader = self.clone();
        let loading = tokio::task::spawn_blocking(move || loader.open(&source, &device, &progress));
        loading.await.unwrap_or_else(|error| Err(ModelError::Failed { what: error.to_string() }))
    }
}

/// One model that is being opened.
struct Loading<'a> {
    source: &'a ModelSource,
    progress: &'a ProgressSink,
    clock: &'a Arc<dyn Clock>,
}

impl Loading<'_> {
    fn tell(&self, stage: LoadStage, done_bytes: u64, total_bytes: u64) {
        (self.progress)(LoadProgress { stage, done_bytes, total_bytes });
    }

    /// Tokens of context, no more than the source allows.
    fn context_tokens(&self, own: usize) -> u32 {
        let own = u32::try_from(own).unwrap_or(u32::MAX);
        self.source.context_tokens_max.map_or(own, |most| own.min(most.max(1)))
    }

    /// Reads a file once, from its beginning, and checks its hash where one is asked for.
    fn hash(&self, path: &Path, file: &mut File, file_bytes: u64) -> Result<ModelHash, ModelError> {
        file.rewind().map_err(|error| unreadable(path, &error))?;
        let (mut hasher, mut chunk, mut done) = (Sha256::new(), vec![0; HASH_CHUNK_BYTES], 0);
        loop {
            self.tell(LoadStage::Hashing, done, file_bytes);
            let read = file.read(&mut chunk).map_err(|error| unreadable(path, &error))?;
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
            done += read as u64;
        }
        let hash = ModelHash::from_bytes(hasher.finalize().into());
        match self.source.hash {
            Some(expected) if expected != hash => {
                Err(invalid(path, format!("its SHA-256 is {hash}, but {expected} was asked for")))
            }
            _ => Ok(hash),
        }
    }
}

fn only_on_the_processor(id: &ModelId, gpu: &Gpu) -> ModelError {
    ModelError::Unsuited {
        id: id.clone(),
        operation: format!("embed on {}: embedders run on cpu", gpu.device()).into(),
    }
}

fn open_file(path: &Path) -> Result<(File, u64), ModelError> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(invalid(path, "it is no regular file"));
    }
    Ok((file, metadata.len()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> ModelError {
    invalid(path, format!("it cannot be read: {error}"))
}

fn invalid(path: &Path, what: impl Into<String>) -> ModelError {
    ModelError::FileInvalid { path: path.to_owned(), what: what.into() }
}
