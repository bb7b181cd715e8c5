//! The sources of one agent version, as they are uploaded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The main script of every agent.
pub const MAIN_FILE: &str = "agent.rhai";

/// What the names of modules begin with that belong to the project and not to one agent: `import "project/tax" as tax;`.
pub const PROJECT_PREFIX: &str = "project/";

/// The script of an agent and the modules that it may import. A value: what is checked is what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The source of the main script, called `agent.rhai` in messages.
    pub script: String,
    /// Sources of the modules by name: `import "pricing" as pricing;` finds `pricing`, called `pricing.rhai`.
    #[serde(default)]
    pub modules: BTreeMap<String, String>,
}

impl Bundle {
    /// A bundle without modules.
    pub fn new(script: impl Into<String>) -> Self {
        Self { script: script.into(), modules: BTreeMap::new() }
    }

    /// Modules of a project by their whole names, such as `project/tax`, to be checked without an agent.
    pub fn of_modules(modules: BTreeMap<String, String>) -> Self {
        Self { script: "fn on_message(msg) { }".to_owned(), modules }
    }

    /// The same with one more module.
    #[must_use]
    pub fn with_module(mut self, name: impl Into<String>, source: impl Into<String>) -> Self {
        self.modules.insert(name.into(), source.into());
        self
    }

    /// SHA-256 over all sources and their names: the same for the same bundle on every machine.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        part(&self.script);
        for (name, source) in &self.modules {
            part(name);
            part(source);
        }
        hash.finalize().into()
    }
}
