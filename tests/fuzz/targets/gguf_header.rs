//! Any bytes as the header of a model file: refused with what is wrong, or read within the file's own size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steward_inference_candle::gguf::Header;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::read(bytes, bytes.len() as u64) {
        for (name, entry) in &header.tensors {
            assert!(header.tensor(name).is_ok());
            let _ = entry.elements();
        }
    }
});
