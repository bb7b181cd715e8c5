//! What can be asked of a project, and what it answers. A refusal is an answer, never a fault of the entity.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use steward_types::{AgentId, Micros, ModuleId, ProjectId, Timestamp};

use super::record::{ApiKey, Role};
use crate::agent::FileRecord;
use crate::budget::{Period, PriceList};
use crate::session::Refusal;

/// A request to one project. Each may be sent again after a lost answer: it takes effect once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ProjectRequest {
    /// Creates the project under the id that it is sent to.
    Create(CreateProject),
    /// Replaces the price list.
    SetPrices(PriceList),
    /// Chooses chains, and when receipts are anchored on them.
    SetAnchoring {
        /// The chains by name.
        chains: Vec<String>,
        /// How long receipts may wait, in milliseconds.
        interval_ms: u64,
        /// How many may wait; nothing: the time alone counts.
        #[serde(default)]
        receipts: Option<u64>,
    },
    /// Sets the limit of the project, or of one of its agents.
    SetLimit {
        /// The agent; absent for the project itself.
        agent: Option<AgentId>,
        /// The most to spend in a period.
        limit: Option<Micros>,
        /// When spending starts from zero again.
        period: Period,
    },
    /// Makes an API key.
    CreateKey(CreateKey),
    /// Revokes an API key.
    RevokeKey {
        /// Its id.
        id: String,
    },
    /// Adds or replaces modules, whose sources are kept already: all of them or none.
    PutModules(BTreeMap<ModuleId, FileRecord>),
    /// Removes a module. Versions of agents keep the copy that they took along.
    RemoveModule {
        /// Its name.
        module: ModuleId,
    },
}

/// How to create a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateProject {
    /// The most to spend in a period.
    pub limit: Option<Micros>,
    /// When spending starts from zero again.
    pub period: Period,
    /// What things cost; absent for the default list.
    pub prices: Option<PriceList>,
    /// The chains that anchor its receipts.
    pub chains: Vec<String>,
}

/// How to make an API key. Its secret stays with the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateKey {
    /// Its id.
    pub id: String,
    /// SHA-256 of its secret.
    pub secret_hash: [u8; 32],
    /// What people call it.
    pub label: String,
    /// What it may do.
    pub role: Role,
}

/// What a project answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ProjectResponse {
    /// The project as it is now.
    Project(Box<ProjectView>),
    /// The key as it is now, and whether this request made it.
    Key {
        /// The key.
        key: ApiKey,
        /// Whether this request made it, so that its secret is good.
        created: bool,
    },
    /// Done.
    Done,
    /// Not done, and why.
    Refused(Refusal),
}

/// How a project looks from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectView {
    /// Its name.
    pub id: ProjectId,
    /// When it was created.
    pub created: Timestamp,
    /// What things cost.
    pub prices: PriceList,
    /// The chains that anchor its receipts.
    pub chains: Vec<String>,
    /// How long receipts may wait, in milliseconds.
    pub anchor_interval_ms: u64,
    /// How many receipts may wait; nothing: the time alone counts.
    #[serde(default)]
    pub anchor_receipts: Option<u64>,
}
