//! Opens a GGUF file as a generator.

use std::io::{BufReader, Seek};
use std::sync::Arc;

use steward_inference::{LoadStage, Model, ModelCard, ModelError, ModelFamily};

use super::{Loading, invalid, open_file, unreadable};
use crate::generator::Generator;
use crate::gguf::{Header, HeaderError};
use crate::llama::{Llama, LlamaConfig};
use crate::replica::Engine;
use crate::tokenizer::GeneratorTokenizer;

impl Loading<'_> {
    pub(super) fn gguf(&self) -> Result<Arc<dyn Model>, ModelError> {
        let path = self.source.path.as_path();
        let wrong = |error: HeaderError| invalid(path, error.to_string());
        let (mut file, file_bytes) = open_file(path)?;
        self.tell(LoadStage::Checking, 0, file_bytes);
        let header = Header::read(BufReader::new(&mut file), file_bytes).map_err(wrong)?;
        check_architecture(&header).map_err(wrong)?;
        let tokenizer = GeneratorTokenizer::new(&header.metadata, Arc::clone(self.clock)).map_err(wrong)?;
        let config = LlamaConfig::check(&header, tokenizer.vocabulary()).map_err(wrong)?;
        let weights_bytes = config.weights_bytes(&header);
        let reserved = self.device.reserve(format!("{} weights", self.source.id), weights_bytes)?;
        let hash = self.hash(path, &mut file, file_bytes)?;
        file.rewind().map_err(|error| unreadable(path, &error))?;
        let (total, mut done) = (header.tensors.values().map(|tensor| tensor.bytes).sum(), 0);
        let mut progress = |bytes| {
            done += bytes;
            self.tell(LoadStage::Weights, done, total);
        };
        let card = ModelCard {
            id: self.source.id.clone(),
            hash,
            family: ModelFamily::Llama,
            context_tokens: self.context_tokens(config.context),
            can_generate: true,
            can_embed: false,
            embedding_dimensions: 0,
            weights_bytes,
            kv_bytes_per_token: config.kv_bytes_per_token(),
        };
        let engine = Engine {
            id: self.source.id.clone(),
            llama: Llama::load(file, &header, config, &mut progress).map_err(wrong)?,
            tokenizer: Arc::new(tokenizer),
            device: Arc::clone(self.device),
            clock: Arc::clone(self.clock),
            _weights: reserved,
        };
        let generator = Generator::start(card, engine)?;
        self.tell(LoadStage::Ready, total, total);
        Ok(Arc::new(generator))
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
