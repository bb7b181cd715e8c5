//! Typed ids. A name that a person chooses is a slug; an id that Steward makes is 128 bits with a prefix.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::limits::NAME_BYTES_MAX;
use crate::{Clock, Entropy};

/// What is wrong with an id, and what a right one looks like.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{text:?} is not a {what}: {expected}")]
pub struct IdError {
    what: &'static str,
    text: String,
    expected: &'static str,
}

const SLUG: &str = "use 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit";
const MODULE: &str = "use 1 to 63 of a-z, 0-9 and '_', starting and ending with a letter or digit";
const MODEL: &str = "use 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', starting and ending with a letter or digit";

fn is_name(text: &str, may_hold: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= NAME_BYTES_MAX && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|&b| may_hold(b))
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:expr, $may_hold:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if is_name(text, $may_hold) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError { what: $what, text: text.chars().take(100).collect(), expected: $expected })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_id!(
    /// A project: the tenant. Everything else belongs to one.
    ProjectId, "project name", SLUG, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'
);
name_id!(
    /// An agent's name within its project.
    AgentId, "agent name", SLUG, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'
);
name_id!(
    /// A trigger's name within its agent.
    TriggerId, "trigger name", SLUG, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'
);
name_id!(
    /// A module's name within its project: scripts import it as `project/NAME`.
    ModuleId, "module name", MODULE, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'
);
name_id!(
    /// A model's name on this cluster.
    ModelId, "model name", MODEL, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// From its 128 bits.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Its 128 bits.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let uuid = text.strip_prefix($prefix).filter(|hex| hex.len() == 32);
                uuid.and_then(|hex| Uuid::try_parse(hex).ok()).map(Self).ok_or_else(|| IdError {
                    what: $what,
                    text: text.chars().take(100).collect(),
                    expected: concat!("it reads '", $prefix, "' and 32 hexadecimal digits"),
                })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($prefix, "{}"), self.0.simple()))
            }
        }
    };
}

uuid_id!(
    /// A session: one conversation or job. Made in time order.
    SessionId, "session id", "ses_"
);
uuid_id!(
    /// A node of a cluster: the same for as long as its data folder lives, whatever its addresses are.
    NodeId, "node id", "nod_"
);
uuid_id!(
    /// A hold on a budget. Derived from (session, turn, step), so that asking twice holds once.
    HoldId, "hold id", "hold_"
);

impl SessionId {
    /// A new id whose first 48 bits are the time (a version 7 UUID, RFC 9562).
    pub fn generate(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        let mut random = [0; 10];
        entropy.fill(&mut random);
        Self(uuid::Builder::from_unix_timestamp_millis(clock.now().as_millis(), &random).into_uuid())
    }
}

impl NodeId {
    /// A new random id.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(uuid::Builder::from_random_bytes(entropy.bytes_16()).into_uuid())
    }
}

/// Where a step stands in its turn: `3` is the third, `3.1.2` the second step of the first branch of a `parallel`
/// that is the third. Numbers start at 1. Ordered as the script runs them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepPath(Vec<u32>);

impl StepPath {
    /// The path of the `number`th step of a turn.
    pub fn top(number: u32) -> Self {
        Self(vec![number])
    }

    /// The path of the `step`th step of the `branch`th branch below this step.
    pub fn branch(&self, branch: u32, step: u32) -> Self {
        let mut numbers = self.0.clone();
        numbers.extend([branch, step]);
        Self(numbers)
    }

    /// The numbers, outermost first; never empty, always odd in count.
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.pad(&numbers.join("."))
    }
}

impl FromStr for StepPath {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers {
            Ok(numbers) if numbers.len() % 2 == 1 && !numbers.contains(&0) => Ok(Self(numbers)),
            _ => Err(IdError {
                what: "step",
                text: text.chars().take(100).collect(),
                expected: "it reads as 3 or 3.1.2",
            }),
        }
    }
}

impl TryFrom<String> for StepPath {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<StepPath> for String {
    fn from(path: StepPath) -> String {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, SeededEntropy, Timestamp};

    #[test]
    fn a_name_is_a_slug() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<ProjectId>().is_ok(), good, "{text:?}");
        check("acme", true);
        check("a", true);
        check("acme-2", true);
        check(&"a".repeat(63), true);
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "ä", "a.b", &"a".repeat(64)] {
            check(bad, false);
        }
    }

    #[test]
    fn an_id_survives_printing_and_sorts_by_time() {
        let (clock, entropy) = (ManualClock::new(Timestamp::from_millis(1)), SeededEntropy::new(1));
        let first = SessionId::generate(&clock, &entropy);
        clock.advance(std::time::Duration::from_millis(1));
        let second = SessionId::generate(&clock, &entropy);
        assert!(first < second && first.to_string() < second.to_string());
        assert_eq!(first.to_string().parse(), Ok(first));
        assert!("ses_1".parse::<SessionId>().is_err());
        assert!(first.to_string().replace("ses_", "hold_").parse::<SessionId>().is_err());
    }

    #[test]
    fn a_step_path_sorts_as_the_script_runs() {
        let path = |text: &str| text.parse::<StepPath>().unwrap();
        assert!(path("3") < path("3.1.1") && path("3.1.2") < path("3.2.1") && path("3.2.1") < path("10"));
        assert_eq!(StepPath::top(3).branch(1, 2).to_string(), "3.1.2");
        for bad in ["", "0", "1.2", "a", "1..2", "1.2.0"] {
            assert!(bad.parse::<StepPath>().is_err(), "{bad}");
        }
    }
}
