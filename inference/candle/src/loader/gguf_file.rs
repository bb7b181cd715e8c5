//! Opens a GGUF file as a generator.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::sync::Arc;

use steward_inference::{DeviceBudget, LoadStage, Model, ModelCard, ModelError, ModelFamily, Reservation};
use steward_inference_cuda::Gpu;

use super::{Loading, invalid, open_file, unreadable};
use crate::generator::Generator;
use crate::gguf::{Header, HeaderError};
use crate::llama::{GpuBytes, Llama, LlamaConfig, LoadError, device_error};
use crate::replica::{Engine, FindHome, Home, note_failure};
use crate::tokenizer::GeneratorTokenizer;

/// A file whose header is sound.
struct Checked {
    file: File,
    file_bytes: u64,
    header: Header,
    tokenizer: GeneratorTokenizer,
    config: LlamaConfig,
}

impl Loading<'_> {
    /// A model that serves on a device, and knows where else it can be.
    pub(super) fn gguf(
        &self,
        device: &Arc<DeviceBudget>,
        gpu: Option<&Arc<Gpu>>,
        find_home: impl FnOnce(&ModelCard) -> FindHome,
    ) -> Result<Arc<dyn Model>, ModelError> {
        let mut checked = self.check_gguf()?;
        let (card, home) = self.settle(&mut checked, device, gpu)?;
        let engine = Engine {
            id: self.source.id.clone(),
            home,
            find_home: find_home(&card),
            tokenizer: Arc::new(checked.tokenizer),
            clock: Arc::clone(self.clock),
        };
        let generator = Generator::start(card, engine)?;
        self.tell(LoadStage::Ready, checked.file_bytes, checked.file_bytes);
        Ok(Arc::new(generator))
    }

    /// The same model's weights on a device.
    pub(super) fn gguf_home(&self, device: &Arc<DeviceBudget>, gpu: Option<&Arc<Gpu>>) -> Result<Home, ModelError> {
        self.settle(&mut self.check_gguf()?, device, gpu).map(|(_, home)| home)
    }

    fn settle(
        &self,
        checked: &mut Checked,
        device: &Arc<DeviceBudget>,
        gpu: Option<&Arc<Gpu>>,
    ) -> Result<(ModelCard, Home), ModelError> {
        let settled = self.reserve(device, gpu, checked).and_then(|reserved| {
            let card = self.gguf_card_of(checked)?;
            let llama = self.weights(checked, gpu)?;
            Ok((card, Home { llama, device: Arc::clone(device), _reserved: reserved }))
        });
        settled.inspect_err(|error| note_failure(device, error))
    }

    fn weights(&self, checked: &mut Checked, gpu: Option<&Arc<Gpu>>) -> Result<Llama, ModelError> {
        let path = self.source.path.as_path();
        let Checked { file, header, config, .. } = checked;
        file.rewind().map_err(|error| unreadable(path, &error))?;
        let (total, mut done) = (header.tensors.values().map(|tensor| tensor.bytes).sum(), 0);
        let mut progress = |bytes| {
            done += bytes;
            self.tell(LoadStage::Weights, done, total);
        };
        Llama::load(gpu, file, header, config.clone(), &mut progress).map_err(|error| match error {
            LoadError::File(error) => invalid(path, error.to_string()),
            LoadError::Gpu(error) => device_error(error),
        })
    }

    /// Takes the memory that the model needs, before anything of it is loaded.
    fn reserve(
        &self,
        device: &Arc<DeviceBudget>,
        gpu: Option<&Arc<Gpu>>,
        checked: &Checked,
    ) -> Result<Vec<Reservation>, ModelError> {
        let Checked { header, config, .. } = checked;
        let (weights, work) = (format!("{} weights", self.source.id), format!("{} batches", self.source.id));
        let Some(gpu) = gpu else { return Ok(vec![device.reserve(weights, config.weights_bytes(header))?]) };
        let unsuited = |error: HeaderError| ModelError::Unsuited {
            id: self.source.id.clone(),
            operation: format!("run on {}: {error}", gpu.device()).into(),
        };
        let needed = GpuBytes::of(config, header).map_err(unsuited)?;
        let reserved = vec![device.reserve(weights.clone(), needed.weights)?, device.reserve(work, needed.work)?];
        // Other programs may have taken what the budget counts on.
        let free_bytes = gpu.memory().map_err(device_error)?.free_bytes;
        let needed_bytes = needed.weights.saturating_add(needed.work);
        if needed_bytes > free_bytes {
            let device = gpu.device().to_owned();
            return Err(ModelError::DeviceMemory { device, owner: weights, needed_bytes, free_bytes });
        }
        Ok(reserved)
    }

    /// What the file is, by its header and its hash.
    pub(super) fn gguf_card(&self) -> Result<ModelCard, ModelError> {
        self.gguf_card_of(&mut self.check_gguf()?)
    }

    fn check_gguf(&self) -> Result<Checked, ModelError> {
        let path = self.source.path.as_path();
        let wrong = |error: HeaderError| invalid(path, error.to_string());
        let (mut file, file_bytes) = open_file(path)?;
        self.tell(LoadStage::Checking, 0, file_bytes);
        let header = Header::read(BufReader::new(&mut file), file_bytes).map_err(wrong)?;
        check_architecture(&header).map_err(wrong)?;
        let tokenizer = GeneratorTokenizer::new(&header.metadata, Arc::clone(self.clock)).map_err(wrong)?;
        let config = LlamaConfig::check(&header, tokenizer.vocabulary()).map_err(wrong)?;
        Ok(Checked { file, file_bytes, header, tokenizer, config })
    }

    fn gguf_card_of(&self, checked: &mut Checked) -> Result<ModelCard, ModelError> {
        let Checked { file, file_bytes, header, config, .. } = checked;
        Ok(ModelCard {
            id: self.source.id.clone(),
            hash: self.hash(&self.source.path, file, *file_bytes)?,
            family: ModelFamily::Llama,
            context_tokens: self.context_tokens(config.context),
            can_generate: true,
            can_embed: false,
            embedding_dimensions: 0,
            weights_bytes: config.weights_bytes(header),
            kv_bytes_per_token: config.kv_bytes_per_token(),
        })
    }
}

fn check_architecture(header: &Header) -> Result<(), HeaderError> {
    match header.metadata.text("general.architecture")? {
        Some("llama") => Ok(()),
        Some(other) => {
            Err(HeaderError::new(format!("general.architecture: {other:?} is not supported (\"llama\" is)")))
        }
        None => Err(HeaderError::new("the metadata key \"general.architecture\" is missing")),
    }
}
