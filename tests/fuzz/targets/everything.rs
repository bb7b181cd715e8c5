//! A record with every shape that a stored record may have, for the target and for the test that writes its seeds.

use serde::{Deserialize, Serialize};
use steward_storage::Record;

/// The record.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Everything {
    /// Text.
    pub text: String,
    /// A number with a sign.
    pub number: i64,
    /// A number without.
    pub amount: u64,
    /// Bytes.
    pub bytes: Vec<u8>,
    /// Another one within.
    pub absent: Option<Box<Everything>>,
    /// One of several.
    pub choice: Choice,
    /// Any JSON.
    pub value: serde_json::Value,
}

/// One of several shapes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Choice {
    /// A name alone.
    Unit,
    /// Values by place.
    Tuple(u32, String),
    /// Values by name.
    Fields {
        /// Numbers.
        path: Vec<u32>,
    },
}

impl Record for Everything {
    const NAME: &'static str = "everything";
    const VERSION: u16 = 1;
}
