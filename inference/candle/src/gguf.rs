//! The header of a GGUF file, read with every count, length, offset and shape checked before it is believed.
//!
//! A hostile header must neither panic nor make us allocate more than a small multiple of the bytes that are really
//! there. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.

mod metadata;
mod reader;

use std::collections::BTreeMap;
use std::io::Read;

use candle_core::quantized::GgmlDType;
use thiserror::Error;

pub use metadata::{Metadata, Value};
use reader::HeaderReader;

/// Longest header: metadata with its vocabulary, and the list of tensors.
pub const HEADER_BYTES_MAX: u64 = 128 << 20;
/// Most entries of metadata.
const METADATA_ENTRIES_MAX: u64 = 4_096;
/// Most tensors.
const TENSORS_MAX: u64 = 65_536;
/// Most dimensions of a tensor.
const DIMENSIONS_MAX: u32 = 4;
/// Longest name of a tensor.
const TENSOR_NAME_BYTES_MAX: u64 = 256;
/// Largest alignment.
const ALIGNMENT_MAX: u64 = 1 << 16;
/// Alignment of a file that names none.
const ALIGNMENT_DEFAULT: u64 = 32;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct HeaderError(String);

impl HeaderError {
    /// An error with this text.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// A checked header: every tensor lies within the file, aligned, and overlaps no other.
#[derive(Debug, Clone)]
pub struct Header {
    /// What the file says of the model.
    pub metadata: Metadata,
    /// Its tensors by name.
    pub tensors: BTreeMap<String, TensorEntry>,
    /// Where the tensors' data begin in the file, in bytes.
    pub data_offset: u64,
}

/// Where and what one tensor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its sizes, the fastest-changing first.
    pub dimensions: Vec<u64>,
    /// How its numbers are stored.
    pub dtype: GgmlDType,
    /// Where it begins, in bytes after the header.
    pub offset: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
}

impl TensorEntry {
    /// Numbers in it.
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().product()
    }
}

impl Header {
    /// Reads the header of a file that is `file_bytes` long in all.
    pub fn read(source: impl Read, file_bytes: u64) -> Result<Self, HeaderError> {
        let mut reader = HeaderReader::new(source, file_bytes.min(HEADER_BYTES_MAX));
        let (tensor_count, metadata_count) = preamble(&mut reader)?;
        let metadata = Metadata::read(&mut reader, metadata_count)?;
        let mut tensors = BTreeMap::new();
        for number in 0..tensor_count {
            let (name, entry) = tensor(&mut reader)?;
            if tensors.insert(name.clone(), entry).is_some() {
                return Err(HeaderError(format!("tensor {number}: a second tensor is named {name:?}")));
            }
        }
        let alignment = alignment(&metadata)?;
        let data_offset = reader.position().next_multiple_of(alignment);
        check_layout(&tensors, alignment, file_bytes.saturating_sub(data_offset))?;
        Ok(Self { metadata, tensors, data_offset })
    }

    /// A tensor that must be there.
    pub fn tensor(&self, name: &str) -> Result<&TensorEntry, HeaderError> {
        self.tensors.get(name).ok_or_else(|| HeaderError(format!("tensor {name:?} is missing")))
    }

    /// A tensor that must be there and have these dimensions, the fastest-changing first.
    pub fn tensor_of(&self, name: &str, dimensions: &[u64]) -> Result<&TensorEntry, HeaderError> {
        let entry = self.tensor(name)?;
        if entry.dimensions == dimensions {
            return Ok(entry);
        }
        let found = &entry.dimensions;
        Err(HeaderError(format!("tensor {name:?} has the shape {found:?}, but the metadata asks for {dimensions:?}")))
    }
}

/// Magic, version, and how many tensors and entries of metadata follow.
fn preamble<R: Read>(reader: &mut HeaderReader<R>) -> Result<(u64, u64), HeaderError> {
    if reader.bytes::<4>("the magic")? != *b"GGUF" {
        return Err(HeaderError::new("it does not begin with GGUF, so it is no GGUF file"));
    }
    let version = reader.u32("the version")?;
    if !matches!(version, 2 | 3) {
        return Err(HeaderError(format!("version {version} of GGUF is not supported (2 and 3 are)")));
    }
    let tensor_count = reader.u64("the number of tensors")?;
    let metadata_count = reader.u64("the number of metadata entries")?;
    for (what, count, most) in
        [("tensors", tensor_count, TENSORS_MAX), ("metadata entries", metadata_count, METADATA_ENTRIES_MAX)]
    {
        if count > most {
            return Err(HeaderError(format!("{count} {what} are more than the {most} that are allowed")));
        }
    }
    Ok((tensor_count, metadata_count))
}

fn tensor<R: Read>(reader: &mut HeaderReader<R>) -> Result<(String, TensorEntry), HeaderError> {
    let name = reader.text("a tensor's name", TENSOR_NAME_BYTES_MAX)?;
    let wrong = |what: String| HeaderError(format!("tensor {name:?}: {what}"));
    let dimension_count = reader.u32("a tensor's number of dimensions")?;
    if !(1..=DIMENSIONS_MAX).contains(&dimension_count) {
        return Err(wrong(format!("{dimension_count} dimensions, not 1 to {DIMENSIONS_MAX}")));
    }
    let mut dimensions = Vec::with_capacity(DIMENSIONS_MAX as usize);
    for _ in 0..dimension_count {
        dimensions.push(reader.u64("a tensor's dimension")?);
    }
    let number = reader.u32("a tensor's type")?;
    let dtype = dtype(number).ok_or_else(|| wrong(format!("type {number} is not supported")))?;
    let offset = reader.u64("a tensor's offset")?;
    let bytes = tensor_bytes(&dimensions, dtype).map_err(wrong)?;
    Ok((name, TensorEntry { dimensions, dtype, offset, bytes }))
}

fn tensor_bytes(dimensions: &[u64], dtype: GgmlDType) -> Result<u64, String> {
    let too_large = || format!("the shape {dimensions:?} is too large");
    if dimensions.contains(&0) {
        return Err(format!("the shape {dimensions:?} has a zero"));
    }
    let elements =
        dimensions.iter().try_fold(1u64, |product, &size| product.checked_mul(size)).ok_or_else(too_large)?;
    let (block, block_bytes) = (dtype.block_size() as u64, dtype.type_size() as u64);
    if !dimensions.first().is_some_and(|row| row.is_multiple_of(block)) {
        return Err(format!("rows of the shape {dimensions:?} are no whole blocks of {block}, as {dtype:?} needs"));
    }
    (elements / block).checked_mul(block_bytes).ok_or_else(too_large)
}

fn alignment(metadata: &Metadata) -> Result<u64, HeaderError> {
    let alignment = metadata.u64("general.alignment")?.unwrap_or(ALIGNMENT_DEFAULT);
    if alignment.is_power_of_two() && alignment <= ALIGNMENT_MAX {
        return Ok(alignment);
    }
    Err(HeaderError(format!("general.alignment: {alignment} is no power of two up to {ALIGNMENT_MAX}")))
}

/// Every tensor is aligned, lies within the `data_bytes` that the file has after its header, and overlaps no other.
fn check_layout(tensors: &BTreeMap<String, TensorEntry>, alignment: u64, data_bytes: u64) -> Result<(), HeaderError> {
    let mut placed: Vec<(&str, &TensorEntry)> = tensors.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
    placed.sort_by_key(|(_, entry)| entry.offset);
    let mut free_from = 0;
    for (name, entry) in placed {
        let TensorEntry { offset, bytes, .. } = *entry;
        if !offset.is_multiple_of(alignment) {
            return Err(HeaderError(format!("tensor {name:?}: offset {offset} is not aligned to {alignment}")));
        }
        if offset < free_from {
            return Err(HeaderError(format!("tensor {name:?}: at offset {offset} it overlaps the one before it")));
        }
        let end = offset.checked_add(bytes).filter(|&end| end <= data_bytes);
        free_from = end.ok_or_else(|| {
            HeaderError(format!(
                "tensor {name:?}: {bytes} bytes at offset {offset} do not lie within the file, which has {data_bytes} \
                 bytes of data; is it cut off?"
            ))
        })?;
    }
    Ok(())
}

/// The types of ggml.h that candle knows.
fn dtype(number: u32) -> Option<GgmlDType> {
    Some(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}
