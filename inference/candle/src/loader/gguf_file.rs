//! Opens a GGUF file as a generator.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::sync::Arc;

use steward_inference::{DeviceBudget, LoadStage, Model, ModelCard, ModelError, ModelFamily};

use super::{Loading, invalid, open_file, unreadable};
use crate::generator::Generator;
use crate::gguf::{Header, HeaderError};
use crate::llama::{Llama, LlamaConfig};
use crate::replica::Engine;
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
    pub(super) fn gguf(&self, device: &Arc<DeviceBudget>) -> Result<Arc<dyn Model>, ModelError> {
        let path = self.source.path.as_path();
        let wrong = |error: HeaderError| invalid(path, error.to_string());
        let mut checked = self.check_gguf()?;
        let weights_bytes = checked.config.weights_bytes(&checked.header);
        let reserved = device.reserve(format!("{} weights", self.source.id), weights_bytes)?;
        let card = self.gguf_card_of(&mut checked)?;
        let Checked { mut file, header, tokenizer, config, .. } = checked;
        file.rewind().map_err(|error| unreadable(path, &error))?;
        let (total, mut done) = (header.tensors.values().map(|tensor| tensor.bytes).sum(), 0);
        let mut progress = |bytes| {
            done += bytes;
            self.tell(LoadStage::Weights, done, total);
        };
        let engine = Engine {
            id: self.source.id.clone(),
            llama: Llama::load(file, &header, config, &mut progress).map_err(wrong)?,
            tokenizer: Arc::new(tokenizer),
            device: Arc::clone(device),
            clock: Arc::clone(self.clock),
            _weights: reserved,
        };
        let generator = Generator::start(card, engine)?;
        self.tell(LoadStage::Ready, total, total);
        Ok(Arc::new(generator))
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
