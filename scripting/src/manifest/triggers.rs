//! Which events of which chains start a session of the agent. What an address or event of a chain looks like is known
//! only where the chain's driver is: a node checks that when the agent is deployed.

use std::collections::BTreeSet;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use steward_types::TriggerId;
use steward_types::limits::AGENT_TRIGGERS_MAX;

/// A trigger: each event starts a session, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Its name in the agent.
    pub name: TriggerId,
    /// The chain's CAIP-2 identifier.
    pub chain: String,
    /// The contract, program or account whose events are meant.
    pub address: String,
    /// Which of its events.
    pub event: String,
    /// Where to begin when the trigger is new.
    #[serde(default)]
    pub from: TriggerFrom,
}

/// Where a new trigger begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum TriggerFrom {
    /// After the newest final block at the time.
    #[default]
    Now,
    /// With this block.
    Block(u64),
}

/// `"now"`, or the number of a block.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Block(u64),
    Word(String),
}

impl TryFrom<Written> for TriggerFrom {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Block(block) => Ok(Self::Block(block)),
            Written::Word(word) if word == "now" => Ok(Self::Now),
            Written::Word(word) => Err(format!("{word:?} is no beginning: write \"now\" or the number of a block")),
        }
    }
}

impl From<TriggerFrom> for Written {
    fn from(from: TriggerFrom) -> Self {
        match from {
            TriggerFrom::Block(block) => Self::Block(block),
            TriggerFrom::Now => Self::Word("now".to_owned()),
        }
    }
}

/// Reads the triggers of a manifest: not too many, and each under a name of its own.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Trigger>, D::Error> {
    let triggers = Vec::<Trigger>::deserialize(deserializer)?;
    if triggers.len() > AGENT_TRIGGERS_MAX {
        let found = triggers.len();
        return Err(D::Error::custom(format!(
            "there are {found} triggers, and an agent has at most {AGENT_TRIGGERS_MAX}"
        )));
    }
    let mut names = BTreeSet::new();
    match triggers.iter().find(|trigger| !names.insert(&trigger.name)) {
        Some(twice) => Err(D::Error::custom(format!("there are two triggers {}", twice.name))),
        None => Ok(triggers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    const DEPOSITS: &str =
        "[[triggers]]\nname = \"deposits\"\nchain = \"eip155:1\"\naddress = \"0x12\"\nevent = \"A()\"\n";

    fn parse(triggers: &str) -> Result<Vec<Trigger>, String> {
        let manifest = Manifest::parse(&format!("name = \"clerk\"\n{triggers}"));
        manifest.map(|manifest| manifest.triggers).map_err(|error| error.to_string())
    }

    #[test]
    fn a_trigger_begins_now_or_at_a_block() {
        let check = |from: &str, expected: TriggerFrom| {
            let triggers = parse(&format!("{DEPOSITS}{from}")).unwrap();
            assert_eq!(triggers[0].from, expected, "{from}");
            let again = toml::to_string(&triggers[0]).unwrap();
            assert_eq!(toml::from_str::<Trigger>(&again).unwrap(), triggers[0]);
        };
        check("", TriggerFrom::Now);
        check("from = \"now\"", TriggerFrom::Now);
        check("from = 17", TriggerFrom::Block(17));
        assert!(parse("").unwrap().is_empty(), "an agent need not have any");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let check = |triggers: &str, part: &str| {
            let error = parse(triggers).unwrap_err();
            assert!(error.contains(part), "{triggers}: {error}");
        };
        check(&format!("{DEPOSITS}from = \"yesterday\""), "the number of a block");
        check(&format!("{DEPOSITS}from = -1"), "from");
        check(&format!("{DEPOSITS}{DEPOSITS}"), "two triggers deposits");
        check(&DEPOSITS.replace("deposits", "No Name"), "trigger name");
        check(&format!("{DEPOSITS}at = \"latest\""), "at");
        let many: String = (0..=AGENT_TRIGGERS_MAX).map(|n| DEPOSITS.replace("deposits", &format!("t{n}"))).collect();
        check(&many, "at most 16");
    }
}
