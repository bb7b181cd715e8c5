//! How a chain's entity lies in the store.
//!
//! | key | holds |
//! |---|---|
//! | `("chain", id, "head")` | the head of the outbox, the contract's address |
//! | `("chain", id, "intent", n)` | an intent of the outbox and what it is for |
//! | `("chain", id, "wanted", project)` | that a project's log is to be anchored as it is when its turn comes |
//! | `("chain", id, "follow", project)` | when a project's log is anchored by itself |
//! | `("chain", id, "deployment", key)` | a contract that an operator asked for, and where it is |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use steward_adapters::chain::ChainId;
use steward_adapters::outbox::{Intent, OutboxHead};
use steward_receipts::Hash;
use steward_storage::{RangeRead, Record, Store, StoreError, Subspace, key, record};
use steward_types::{ProjectId, Timestamp};

use super::deploying::Deployment;
use super::orders::Order;
use super::settings::Follow;

/// What is kept beside the intents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct ChainRecord {
    /// The head of the outbox.
    pub(super) outbox: OutboxHead,
    /// The contract that this node deployed, once that is final.
    pub(super) contract: Option<String>,
}

/// An intent and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IntentRecord {
    /// The outbox's part.
    pub(super) intent: Intent,
    /// The root that it anchors; nothing for the contract's own transaction.
    pub(super) anchor: Option<AnchorWish>,
    /// The session's order that it carries out.
    #[serde(default)]
    pub(super) order: Option<Order>,
}

/// A log's root as it is to be anchored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorWish {
    /// The log's project.
    pub project: ProjectId,
    /// How many leaves the log has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// The checkpoint that says so.
    pub checkpoint: String,
    /// When it was recorded.
    pub recorded: Timestamp,
}

/// That a project's log is to be anchored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WantedRecord {
    /// Since when.
    pub(super) since: Timestamp,
}

impl Record for ChainRecord {
    const NAME: &'static str = "chain";
    const VERSION: u16 = 1;
}

impl Record for IntentRecord {
    const NAME: &'static str = "chain intent";
    const VERSION: u16 = 1;
}

impl Record for WantedRecord {
    const NAME: &'static str = "wanted anchor";
    const VERSION: u16 = 1;
}

impl Record for Follow {
    const NAME: &'static str = "followed log";
    const VERSION: u16 = 1;
}

/// Everything that is stored of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Stored {
    pub(super) head: ChainRecord,
    pub(super) intents: BTreeMap<u64, IntentRecord>,
    pub(super) wanted: BTreeMap<ProjectId, WantedRecord>,
    pub(super) follows: BTreeMap<ProjectId, Follow>,
    pub(super) deployments: BTreeMap<String, Deployment>,
}

/// The rows of a chain, by key.
pub(super) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

impl Stored {
    /// Reads a chain back.
    pub(super) async fn load(store: &dyn Store, chain: &ChainId) -> Result<(Self, Rows), StoreError> {
        let (mut stored, mut rows) = (Self::default(), Rows::new());
        let space = space(chain);
        let txn = store.begin();
        let mut rest = Some(RangeRead::subspace(&space).snapshot());
        while let Some(range) = rest {
            let page = txn.range(range.clone()).await?;
            for (key, value) in &page.rows {
                stored.read(&space, key, value)?;
                rows.insert(key.to_vec(), value.to_vec());
            }
            rest = range.after(&page);
        }
        Ok((stored, rows))
    }

    /// The rows that hold it.
    pub(super) fn rows(&self, chain: &ChainId) -> Result<Rows, StoreError> {
        let space = space(chain);
        let mut rows = Rows::from([(space.pack(&("head",)), record::encode(&self.head)?)]);
        for (number, intent) in &self.intents {
            rows.insert(space.pack(&("intent", *number)), record::encode(intent)?);
        }
        for (project, wanted) in &self.wanted {
            rows.insert(space.pack(&("wanted", project.as_str())), record::encode(wanted)?);
        }
        for (project, follow) in &self.follows {
            rows.insert(space.pack(&("follow", project.as_str())), record::encode(follow)?);
        }
        for (key, deployment) in &self.deployments {
            rows.insert(space.pack(&("deployment", key.as_str())), record::encode(deployment)?);
        }
        Ok(rows)
    }

    fn read(&mut self, space: &Subspace, row: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if row == space.pack(&("head",)) {
            self.head = record::decode(row, value)?;
            return Ok(());
        }
        if row.starts_with(&space.pack(&("intent",))) {
            let (_, number): (String, u64) = key::unpack_below(space, row)?;
            self.intents.insert(number, record::decode(row, value)?);
            return Ok(());
        }
        let (what, project): (String, String) = key::unpack_below(space, row)?;
        if what == "deployment" {
            self.deployments.insert(project, record::decode(row, value)?);
            return Ok(());
        }
        let corrupt = || StoreError::Corrupt(format!("row {} of a chain is of no known kind", row.escape_ascii()));
        let project: ProjectId = project.parse().map_err(|_| corrupt())?;
        match what.as_str() {
            "wanted" => drop(self.wanted.insert(project, record::decode(row, value)?)),
            "follow" => drop(self.follows.insert(project, record::decode(row, value)?)),
            _ => return Err(corrupt()),
        }
        Ok(())
    }
}

fn space(chain: &ChainId) -> Subspace {
    Subspace::from(("chain", chain.as_str()))
}
