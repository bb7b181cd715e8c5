//! The seeds of the fuzz target `gguf_header` are files that the reader takes: `STEWARD_UPDATE=1` writes them anew.

use std::path::Path;

use candle_core::quantized::GgmlDType;
use steward_inference_candle::gguf::Header;

use super::writer::{Entry, Gguf};

/// Small enough to be changed often: a few tokens, one tensor of each shape.
fn small(dtype: GgmlDType) -> Vec<u8> {
    let mut file = Gguf::llama(dtype);
    let tokens = ["<|endoftext|>", "a", "Ġb"].map(str::to_owned).to_vec();
    file.set("tokenizer.ggml.tokens", Some(Entry::Texts(tokens)));
    file.set("tokenizer.ggml.token_type", Some(Entry::I32s(vec![3, 1, 1])));
    file.tensors.retain(|(name, ..)| name == "output_norm.weight" || name == "blk.0.attn_k.weight");
    file.bytes()
}

#[test]
fn seeds_of_the_header_are_taken_by_the_reader() {
    let folder = Path::new("../../tests/fuzz/seeds/gguf_header");
    for (name, dtype) in [("q4_1.gguf", GgmlDType::Q4_1), ("q8_0.gguf", GgmlDType::Q8_0)] {
        let (file, bytes) = (folder.join(name), small(dtype));
        if std::env::var_os("STEWARD_UPDATE").is_some() {
            std::fs::write(&file, &bytes).unwrap();
        }
        let kept = std::fs::read(&file).unwrap();
        assert_eq!(kept, bytes, "{}: STEWARD_UPDATE=1 writes it", file.display());
        let header = Header::read(kept.as_slice(), kept.len() as u64).unwrap();
        assert_eq!(header.tensors.len(), 2);
    }
}
