//! Who spends: a session, or an API key that calls models without one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use steward_types::{AgentId, HoldId, ProjectId, SessionId, StepPath};

/// The owner of an account within its project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Owner {
    /// A session.
    Session(SessionId),
    /// Direct calls under an API key. Calls that run at once use different lanes, so that they never wait for, or
    /// conflict with, each other's account.
    Key {
        /// The key's public name, never its secret.
        name: String,
        /// Which of the key's accounts.
        lane: u16,
    },
}

/// The text names no owner.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no owner of an account: it reads as ses_… or key:NAME:LANE")]
pub struct OwnerError(String);

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => write!(f, "{session}"),
            Self::Key { name, lane } => write!(f, "key:{name}:{lane}"),
        }
    }
}

impl FromStr for Owner {
    type Err = OwnerError;
    fn from_str(text: &str) -> Result<Self, OwnerError> {
        let error = || OwnerError(text.chars().take(100).collect());
        let Some(key) = text.strip_prefix("key:") else {
            return text.parse().map(Self::Session).map_err(|_| error());
        };
        let (name, lane) = key.rsplit_once(':').ok_or_else(error)?;
        Ok(Self::Key { name: name.to_owned(), lane: lane.parse().map_err(|_| error())? })
    }
}

impl TryFrom<String> for Owner {
    type Error = OwnerError;
    fn try_from(text: String) -> Result<Self, OwnerError> {
        text.parse()
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> String {
        owner.to_string()
    }
}

/// Names an account, and with it the levels above it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountId {
    /// The project whose money is spent.
    pub project: ProjectId,
    /// The agent whose limit counts too; direct calls have none.
    pub agent: Option<AgentId>,
    /// Who spends.
    pub owner: Owner,
}

impl AccountId {
    /// The account of a session of an agent.
    pub const fn session(project: ProjectId, agent: AgentId, session: SessionId) -> Self {
        Self { project, agent: Some(agent), owner: Owner::Session(session) }
    }

    /// The account of one lane of an API key.
    pub const fn key(project: ProjectId, name: String, lane: u16) -> Self {
        Self { project, agent: None, owner: Owner::Key { name, lane } }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.owner)
    }
}

/// The hold of a session's step: the same step always asks for the same hold.
pub fn step_hold(session: SessionId, turn: u64, step: &StepPath) -> HoldId {
    let mut hash = Sha256::new();
    hash.update(b"steward hold of a step\0");
    hash.update(session.as_bytes());
    hash.update(turn.to_be_bytes());
    for number in step.numbers() {
        hash.update(number.to_be_bytes());
    }
    truncated(hash)
}

/// The hold of a direct call: the same request of the same key always asks for the same hold.
pub fn call_hold(project: &ProjectId, key: &str, request: &str) -> HoldId {
    let mut hash = Sha256::new();
    hash.update(b"steward hold of a call\0");
    for part in [project.as_str(), key, request] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    truncated(hash)
}

fn truncated(hash: Sha256) -> HoldId {
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    HoldId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_reads_back_and_a_wrong_one_is_refused() {
        for owner in
            [Owner::Session(SessionId::from_bytes([7; 16])), Owner::Key { name: "ci:main".to_owned(), lane: 12 }]
        {
            assert_eq!(owner.to_string().parse::<Owner>().unwrap(), owner);
        }
        for bad in ["", "key:", "key:a", "key:a:70000", "ses_1"] {
            assert!(bad.parse::<Owner>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_step_has_its_own_hold() {
        let session = SessionId::from_bytes([1; 16]);
        let hold = |turn, path: &str| step_hold(session, turn, &path.parse().unwrap());
        assert_eq!(hold(1, "3.1.2"), hold(1, "3.1.2"));
        assert_ne!(hold(1, "3.1.2"), hold(2, "3.1.2"));
        assert_ne!(hold(1, "3.1.2"), hold(1, "3.2.1"));
        let project: ProjectId = "acme".parse().unwrap();
        assert_ne!(call_hold(&project, "a", "bc"), call_hold(&project, "ab", "c"));
    }
}
