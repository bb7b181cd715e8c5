//! The receipt leaf and its one canonical encoding, described byte by byte in `contracts/receipts/FORMAT.md`.
//!
//! Two leaves that differ never encode alike, and bytes that decode encode again to themselves: whatever
//! [`Leaf::decode`] cannot reproduce exactly it refuses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use steward_types::{AgentId, HoldId, Micros, ModelId, ProjectId, SessionId, StepPath, Timestamp};
use thiserror::Error;

use crate::Hash;

/// The first byte of the encoding that this module writes and reads.
const VERSION: u8 = 1;
/// Longest name of a function.
const FUNCTION_BYTES_MAX: usize = 63;

/// What one settled step was: who did what with which model, for how much, when. Holds hashes of the prompt and the
/// response, never their text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// The project that paid.
    pub project: ProjectId,
    /// The agent whose script made the step.
    pub agent: AgentId,
    /// The session.
    pub session: SessionId,
    /// The number of the turn in its session.
    pub turn: u64,
    /// The step in its turn.
    pub step: StepPath,
    /// The hold that paid for it: unique for each settled step.
    pub hold: HoldId,
    /// The host function, such as `chat` or `http`.
    pub function: Function,
    /// The model, when one took part.
    pub model: Option<LeafModel>,
    /// SHA-256 of what went in: the step's arguments.
    pub prompt_hash: Hash,
    /// SHA-256 of what came out: the step's result.
    pub response_hash: Hash,
    /// Tokens read.
    pub tokens_in: u64,
    /// Tokens made.
    pub tokens_out: u64,
    /// How long the step ran, in milliseconds.
    pub duration_ms: u64,
    /// What it cost, in micro-units.
    pub price: Micros,
    /// When it was settled, in milliseconds since the Unix epoch.
    pub time: Timestamp,
}

/// The model that a step used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeafModel {
    /// Its name on the cluster.
    pub id: ModelId,
    /// SHA-256 of its file.
    pub hash: Hash,
}

/// The name of a host function: 1 to 63 of `a-z`, `0-9` and `_`, starting with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Function(String);

/// Why bytes are not a leaf.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LeafError {
    /// The first byte names a version that this verifier does not know.
    #[error("the leaf has version {found}, this verifier reads version {VERSION}")]
    Version {
        /// The version that the leaf claims.
        found: u8,
    },
    /// The bytes end within a field.
    #[error("the leaf ends within the field {field}")]
    Truncated {
        /// The field.
        field: &'static str,
    },
    /// A field holds what that field may not hold.
    #[error("the leaf's field {field} is not valid: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes follow the last field.
    #[error("{count} bytes follow the leaf")]
    Trailing {
        /// How many.
        count: usize,
    },
}

impl Leaf {
    /// The canonical bytes, version 1.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(320);
        out.push(VERSION);
        put_text(&mut out, self.project.as_str());
        put_text(&mut out, self.agent.as_str());
        out.extend(self.session.as_bytes());
        out.extend(self.turn.to_be_bytes());
        put_step(&mut out, &self.step);
        out.extend(self.hold.as_bytes());
        put_text(&mut out, self.function.as_str());
        match &self.model {
            None => out.push(0),
            Some(model) => {
                out.push(1);
                put_text(&mut out, model.id.as_str());
                out.extend(model.hash.as_bytes());
            }
        }
        out.extend(self.prompt_hash.as_bytes());
        out.extend(self.response_hash.as_bytes());
        for number in [self.tokens_in, self.tokens_out, self.duration_ms, self.price.get(), self.time.as_millis()] {
            out.extend(number.to_be_bytes());
        }
        out
    }

    /// Reads canonical bytes, all of them.
    ///
    /// # Errors
    /// [`LeafError`], for anything that [`Leaf::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        let mut reader = Reader { rest: bytes };
        let [version] = reader.array("version")?;
        if version != VERSION {
            return Err(LeafError::Version { found: version });
        }
        let leaf = Self {
            project: reader.text("project")?,
            agent: reader.text("agent")?,
            session: SessionId::from_bytes(reader.array("session")?),
            turn: reader.number("turn")?,
            step: reader.step()?,
            hold: HoldId::from_bytes(reader.array("hold")?),
            function: reader.text("function")?,
            model: reader.model()?,
            prompt_hash: reader.hash("prompt_hash")?,
            response_hash: reader.hash("response_hash")?,
            tokens_in: reader.number("tokens_in")?,
            tokens_out: reader.number("tokens_out")?,
            duration_ms: reader.number("duration_ms")?,
            price: Micros::new(reader.number("price")?),
            time: Timestamp::from_millis(reader.number("time")?),
        };
        match reader.rest.len() {
            0 => Ok(leaf),
            count => Err(LeafError::Trailing { count }),
        }
    }

    /// Its hash as a leaf of the log.
    pub fn hash(&self) -> Hash {
        Hash::of_leaf(&self.encode())
    }
}

impl Function {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Function {
    type Err = LeafError;

    fn from_str(text: &str) -> Result<Self, LeafError> {
        let starts_well = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let may_hold = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if starts_well && text.len() <= FUNCTION_BYTES_MAX && text.bytes().all(may_hold) {
            return Ok(Self(text.to_owned()));
        }
        let reason = "use 1 to 63 of a-z, 0-9 and '_', starting with a letter".to_owned();
        Err(LeafError::Invalid { field: "function", reason })
    }
}

impl TryFrom<String> for Function {
    type Error = LeafError;

    fn try_from(text: String) -> Result<Self, LeafError> {
        text.parse()
    }
}

impl From<Function> for String {
    fn from(function: Function) -> Self {
        function.0
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names are at most 63 bytes long");
    out.extend(length.to_be_bytes());
    out.extend(text.as_bytes());
}

fn put_step(out: &mut Vec<u8>, step: &StepPath) {
    let count = u32::try_from(step.numbers().len()).expect("a path of 2^32 numbers fits no memory");
    out.extend(count.to_be_bytes());
    for number in step.numbers() {
        out.extend(number.to_be_bytes());
    }
}

/// Takes fields off the front of the bytes.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], LeafError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(LeafError::Truncated { field })?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], LeafError> {
        let bytes = self.take(N, field)?;
        Ok(bytes.try_into().expect("take gives as many bytes as asked"))
    }

    fn number(&mut self, field: &'static str) -> Result<u64, LeafError> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    fn hash(&mut self, field: &'static str) -> Result<Hash, LeafError> {
        Ok(Hash::from_bytes(self.array(field)?))
    }

    /// A validated name. Each has one spelling only, so nothing is left to compare.
    fn text<T: FromStr<Err: fmt::Display>>(&mut self, field: &'static str) -> Result<T, LeafError> {
        let invalid = |reason: String| LeafError::Invalid { field, reason };
        let length = u16::from_be_bytes(self.array(field)?);
        let bytes = self.take(usize::from(length), field)?;
        let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
        text.parse().map_err(|error: T::Err| invalid(error.to_string()))
    }

    fn step(&mut self) -> Result<StepPath, LeafError> {
        let field = "step";
        let count = u32::from_be_bytes(self.array(field)?) as usize;
        // The length is checked against the bytes at hand before anything is allocated for it.
        let bytes = self.take(count.checked_mul(4).ok_or(LeafError::Truncated { field })?, field)?;
        let numbers: Vec<u32> =
            bytes.chunks_exact(4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]])).collect();
        let text = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        text.parse().map_err(|_| LeafError::Invalid {
            field,
            reason: "a path has an odd count of numbers, none of them zero".to_owned(),
        })
    }

    fn model(&mut self) -> Result<Option<LeafModel>, LeafError> {
        match self.array("model")? {
            [0] => Ok(None),
            [1] => Ok(Some(LeafModel { id: self.text("model.id")?, hash: self.hash("model.hash")? })),
            [other] => Err(LeafError::Invalid { field: "model", reason: format!("{other} is neither 0 nor 1") }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_leaf() -> impl Strategy<Value = Leaf> {
        let names = ("[a-z0-9]{1,63}", "[a-z0-9]{1,63}", "[a-z][a-z0-9_]{0,62}");
        let ids = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u64>(), 1..u32::MAX, prop::option::of(1..100u32));
        let model = prop::option::of(("[a-zA-Z0-9]{1,63}", any::<[u8; 32]>()));
        let hashes = (any::<[u8; 32]>(), any::<[u8; 32]>());
        let numbers = any::<[u64; 5]>();
        (names, ids, model, hashes, numbers).prop_map(|(names, ids, model, hashes, numbers)| {
            let top = StepPath::top(ids.3);
            Leaf {
                project: names.0.parse().unwrap(),
                agent: names.1.parse().unwrap(),
                session: SessionId::from_bytes(ids.0),
                turn: ids.2,
                step: ids.4.map_or_else(|| top.clone(), |branch| top.branch(branch, 1)),
                hold: HoldId::from_bytes(ids.1),
                function: names.2.parse().unwrap(),
                model: model.map(|(id, hash)| LeafModel { id: id.parse().unwrap(), hash: Hash::from_bytes(hash) }),
                prompt_hash: Hash::from_bytes(hashes.0),
                response_hash: Hash::from_bytes(hashes.1),
                tokens_in: numbers[0],
                tokens_out: numbers[1],
                duration_ms: numbers[2],
                price: Micros::new(numbers[3]),
                time: Timestamp::from_millis(numbers[4]),
            }
        })
    }

    proptest! {
        #[test]
        fn a_leaf_survives_its_encoding_and_json(leaf in any_leaf()) {
            prop_assert_eq!(Leaf::decode(&leaf.encode()), Ok(leaf.clone()));
            let json = serde_json::to_string(&leaf).unwrap();
            prop_assert_eq!(serde_json::from_str::<Leaf>(&json).unwrap(), leaf);
        }

        #[test]
        fn every_shorter_or_longer_encoding_is_refused(leaf in any_leaf(), extra: u8) {
            let bytes = leaf.encode();
            for end in 0..bytes.len() {
                prop_assert!(Leaf::decode(&bytes[..end]).is_err());
            }
            let longer = [bytes.as_slice(), &[extra]].concat();
            prop_assert_eq!(Leaf::decode(&longer), Err(LeafError::Trailing { count: 1 }));
        }

        #[test]
        fn changed_bytes_never_decode_to_the_same_leaf(leaf in any_leaf(), at: prop::sample::Index, by in 1..=255u8) {
            let mut bytes = leaf.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            if let Ok(changed) = Leaf::decode(&bytes) {
                prop_assert_ne!(&changed, &leaf);
                prop_assert_eq!(changed.encode(), bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let versioned = [&[VERSION], bytes.as_slice()].concat();
            for bytes in [bytes, versioned] {
                if let Ok(leaf) = Leaf::decode(&bytes) {
                    prop_assert_eq!(leaf.encode(), bytes);
                }
            }
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        assert_eq!(Leaf::decode(&[2]), Err(LeafError::Version { found: 2 }));
        assert_eq!(Leaf::decode(&[]), Err(LeafError::Truncated { field: "version" }));
    }
}
