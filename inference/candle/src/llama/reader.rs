//! Reads tensors from a file whose header was checked.

use std::io::{Read, Seek, SeekFrom};

use candle_core::quantized::GgmlDType;

use crate::gguf::{Header, HeaderError, TensorEntry};

/// Reads tensors, and says how many bytes it has read.
pub struct TensorReader<'a, R> {
    /// The file.
    pub file: R,
    /// What the file says of itself.
    pub header: &'a Header,
    /// Hears how many more bytes were read.
    pub progress: &'a mut dyn FnMut(u64),
}

impl<R: Read + Seek> TensorReader<'_, R> {
    /// A tensor's bytes as they stand in the file.
    pub fn stored(&mut self, name: &str) -> Result<(TensorEntry, Vec<u8>), HeaderError> {
        let entry = self.header.tensor(name)?.clone();
        let failed = |error| HeaderError::new(format!("tensor {name:?} cannot be read: {error}"));
        // The header was checked against the file's length, so this many bytes are there.
        let mut bytes = vec![0; usize::try_from(entry.bytes).unwrap_or(0)];
        self.file.seek(SeekFrom::Start(self.header.data_offset + entry.offset)).map_err(failed)?;
        self.file.read_exact(&mut bytes).map_err(failed)?;
        (self.progress)(entry.bytes);
        Ok((entry, bytes))
    }

    /// A vector of 32-bit floats.
    pub fn vector(&mut self, name: &str) -> Result<Vec<f32>, HeaderError> {
        let (entry, bytes) = self.stored(name)?;
        if entry.dtype != GgmlDType::F32 {
            let dtype = entry.dtype;
            return Err(HeaderError::new(format!("tensor {name:?} is stored as {dtype:?}, only F32 is supported")));
        }
        Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
    }

    /// Whether the file has a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.header.tensors.contains_key(name)
    }
}
