//! The metadata of a GGUF file: typed values by key.

use std::collections::BTreeMap;
use std::io::Read;

use super::HeaderError;
use super::reader::HeaderReader;

/// Longest key.
const KEY_BYTES_MAX: u64 = 256;
/// Longest text.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Most items of an array.
const ARRAY_ITEMS_MAX: u64 = 1 << 22;
/// Items for which room is made before they were read.
const ITEMS_AHEAD: u64 = 4_096;

/// One value. All integers are widened.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are what they hold")]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::Signed(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::Text(_) => "a text",
            Self::Texts(_) => "an array of texts",
            Self::Integers(_) => "an array of integers",
            Self::Floats(_) => "an array of floats",
        }
    }
}

/// What a file says of its model.
#[derive(Debug, Clone, Default)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    pub(super) fn read<R: Read>(reader: &mut HeaderReader<R>, count: u64) -> Result<Self, HeaderError> {
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let key = reader.text("a metadata key", KEY_BYTES_MAX)?;
            let kind = reader.u32("a metadata type")?;
            let value = value(reader, kind).map_err(|error| HeaderError(format!("{key}: {error}")))?;
            if entries.insert(key.clone(), value).is_some() {
                return Err(HeaderError(format!("the metadata key {key:?} stands twice")));
            }
        }
        Ok(Self(entries))
    }

    /// Any value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// An integer that is not negative, if there is one.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, HeaderError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(number)) => Ok(Some(*number)),
            Some(Value::Signed(number)) if *number >= 0 => Ok(Some(number.unsigned_abs())),
            Some(other) => Err(mismatch(key, "an integer that is not negative", other)),
        }
    }

    /// An integer from 1 to `most` that must be there.
    pub fn size(&self, key: &str, most: u64) -> Result<usize, HeaderError> {
        self.size_or(key, most, None)
    }

    /// An integer from 1 to `most`, or `default` where there is none.
    pub fn size_or(&self, key: &str, most: u64, default: Option<usize>) -> Result<usize, HeaderError> {
        match (self.u64(key)?, default) {
            (Some(number), _) if (1..=most).contains(&number) => {
                usize::try_from(number).map_err(|_| HeaderError(format!("{key}: {number} is too large")))
            }
            (Some(number), _) => Err(HeaderError(format!("{key}: {number} is not between 1 and {most}"))),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(HeaderError(format!("the metadata key {key:?} is missing"))),
        }
    }

    /// A float between `least` and `most`, or `default` where there is none.
    pub fn float(&self, key: &str, (least, most): (f64, f64), default: Option<f64>) -> Result<f64, HeaderError> {
        match (self.0.get(key), default) {
            (Some(Value::Float(number)), _) if (least..=most).contains(number) => Ok(*number),
            (Some(Value::Float(number)), _) => {
                Err(HeaderError(format!("{key}: {number} is not between {least} and {most}")))
            }
            (Some(other), _) => Err(mismatch(key, "a float", other)),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(HeaderError(format!("the metadata key {key:?} is missing"))),
        }
    }

    /// A boolean, if there is one.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, HeaderError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(mismatch(key, "a boolean", other)),
        }
    }

    /// A text, if there is one.
    pub fn text(&self, key: &str) -> Result<Option<&str>, HeaderError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(mismatch(key, "a text", other)),
        }
    }

    /// An array of texts, if there is one.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>, HeaderError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(other) => Err(mismatch(key, "an array of texts", other)),
        }
    }

    /// An array of integers, if there is one.
    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>, HeaderError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Integers(integers)) => Ok(Some(integers)),
            Some(other) => Err(mismatch(key, "an array of integers", other)),
        }
    }
}

fn mismatch(key: &str, expected: &str, found: &Value) -> HeaderError {
    HeaderError(format!("{key}: expected {expected}, found {}", found.kind()))
}

fn value<R: Read>(reader: &mut HeaderReader<R>, kind: u32) -> Result<Value, HeaderError> {
    match kind {
        8 => reader.text("a text", TEXT_BYTES_MAX).map(Value::Text),
        9 => array(reader),
        _ => scalar(reader, kind),
    }
}

fn scalar<R: Read>(reader: &mut HeaderReader<R>, kind: u32) -> Result<Value, HeaderError> {
    let what = "a value";
    Ok(match kind {
        0 => Value::Unsigned(u64::from(u8::from_le_bytes(reader.bytes(what)?))),
        1 => Value::Signed(i64::from(i8::from_le_bytes(reader.bytes(what)?))),
        2 => Value::Unsigned(u64::from(u16::from_le_bytes(reader.bytes(what)?))),
        3 => Value::Signed(i64::from(i16::from_le_bytes(reader.bytes(what)?))),
        4 => Value::Unsigned(u64::from(reader.u32(what)?)),
        5 => Value::Signed(i64::from(i32::from_le_bytes(reader.bytes(what)?))),
        6 => Value::Float(f64::from(f32::from_le_bytes(reader.bytes(what)?))),
        7 => match reader.bytes(what)? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [other] => return Err(HeaderError(format!("{other} is no boolean"))),
        },
        10 => Value::Unsigned(reader.u64(what)?),
        11 => Value::Signed(i64::from_le_bytes(reader.bytes(what)?)),
        12 => Value::Float(f64::from_le_bytes(reader.bytes(what)?)),
        _ => return Err(HeaderError(format!("metadata type {kind} is not known"))),
    })
}

fn array<R: Read>(reader: &mut HeaderReader<R>) -> Result<Value, HeaderError> {
    let kind = reader.u32("an array's type")?;
    let count = reader.u64("an array's length")?;
    let item_bytes = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        _ => return Err(HeaderError(format!("arrays of metadata type {kind} are not supported"))),
    };
    let most = ARRAY_ITEMS_MAX.min(reader.remaining() / item_bytes);
    if count > most {
        return Err(HeaderError(format!("the array claims {count} items, at most {most} are possible")));
    }
    let ahead = usize::try_from(count.min(ITEMS_AHEAD)).unwrap_or(0);
    match kind {
        8 => items(reader, count, Vec::with_capacity(ahead), |reader| reader.text("an item", TEXT_BYTES_MAX))
            .map(Value::Texts),
        6 | 12 => items(reader, count, Vec::with_capacity(ahead), |reader| float_item(reader, kind)).map(Value::Floats),
        _ => items(reader, count, Vec::with_capacity(ahead), |reader| integer_item(reader, kind)).map(Value::Integers),
    }
}

fn items<R: Read, T>(
    reader: &mut HeaderReader<R>,
    count: u64,
    mut items: Vec<T>,
    read: impl Fn(&mut HeaderReader<R>) -> Result<T, HeaderError>,
) -> Result<Vec<T>, HeaderError> {
    for _ in 0..count {
        items.push(read(reader)?);
    }
    Ok(items)
}

#[expect(clippy::cast_possible_truncation, reason = "scores and the like need no more precision")]
fn float_item<R: Read>(reader: &mut HeaderReader<R>, kind: u32) -> Result<f32, HeaderError> {
    match scalar(reader, kind)? {
        Value::Float(number) => Ok(number as f32),
        other => Err(mismatch("an item", "a float", &other)),
    }
}

fn integer_item<R: Read>(reader: &mut HeaderReader<R>, kind: u32) -> Result<i64, HeaderError> {
    match scalar(reader, kind)? {
        Value::Signed(number) => Ok(number),
        Value::Bool(value) => Ok(i64::from(value)),
        Value::Unsigned(number) => {
            i64::try_from(number).map_err(|_| HeaderError(format!("the item {number} is too large")))
        }
        other => Err(mismatch("an item", "an integer", &other)),
    }
}
