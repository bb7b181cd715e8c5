//! What a chain's entity decides: which roots become intents, and what their outcomes mean. Touches no chain and no
//! store; time is given.

use std::collections::BTreeMap;

use steward_adapters::chain::{Action, AnchorPoint, ChainId};
use steward_adapters::outbox::{Event, Intent, Outbox, OutboxError, OutboxPolicy, Outcome};
use steward_receipts::Hash;
use steward_receipts::proof::Anchor;
use steward_types::{ProjectId, Timestamp};

use super::deploying::Deployment;
use super::orders::{Ended, Order};
use super::records::{AnchorWish, ChainRecord, IntentRecord, Stored, WantedRecord};
use super::settings::Follow;
use crate::receipt_log::AnchoredRoot;

const DEPLOY_KEY: &str = "deploy";

/// The state of a chain's entity that is stored.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) outbox: Outbox,
    pub(super) policy: OutboxPolicy,
    /// The contract that is configured, or else the one that was deployed; empty where the chain needs none.
    pub(super) contract: Option<String>,
    deployed: Option<String>,
    purposes: BTreeMap<String, AnchorWish>,
    /// The sessions' orders that are in the outbox, by their keys.
    pub(super) orders: BTreeMap<String, Order>,
    /// Orders that the chain refused before anything was signed, with its reasons, until they are concluded.
    pub(super) refused: BTreeMap<String, String>,
    /// How often the chain refused each order, in a row; counted anew after a start.
    pub(super) refusals: BTreeMap<String, u32>,
    /// When nothing could be signed for a reason that is no order's: the chain was paused, stalled or down, or this node did
    /// not run it. Nothing is late for that.
    pub(super) running_since: Timestamp,
    /// The contracts that operators asked for, by their intents' keys.
    pub(super) deployments: BTreeMap<String, Deployment>,
    pub(super) wanted: BTreeMap<ProjectId, WantedRecord>,
    pub(super) follows: BTreeMap<ProjectId, Follow>,
}

/// How an intent of a project ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// Its root is on the chain for good.
    Anchored {
        /// The log's project.
        project: ProjectId,
        /// What is recorded of it.
        root: Box<AnchoredRoot>,
    },
    /// A session's order has ended.
    Ordered(Box<Ended>),
    /// A contract that an operator asked for is on the chain for good, or cannot be.
    Deployed {
        /// Its intent's key.
        key: String,
        /// What is known of it, or why it is not there.
        end: Result<Deployment, String>,
    },
    /// The chain refused it.
    Refused {
        /// The projects that waited for it; none named: all.
        project: Option<ProjectId>,
        /// What there is to say.
        reason: String,
    },
}

impl Desk {
    pub(super) fn new(stored: Stored, policy: OutboxPolicy, contract: Option<String>, now: Timestamp) -> Self {
        let Stored { head, intents, wanted, follows, deployments } = stored;
        let (mut purposes, mut orders) = (BTreeMap::new(), BTreeMap::new());
        let mut bare = BTreeMap::new();
        for (number, IntentRecord { intent, anchor, order }) in intents {
            orders.extend(order.map(|order| (intent.key.clone(), order)));
            purposes.extend(anchor.map(|wish| (intent.key.clone(), wish)));
            bare.insert(number, intent);
        }
        let outbox = Outbox::from_parts(head.outbox, bare);
        let contract = contract.or_else(|| head.contract.clone());
        Self {
            outbox,
            policy,
            contract,
            deployed: head.contract,
            purposes,
            orders,
            refused: BTreeMap::new(),
            refusals: BTreeMap::new(),
            running_since: now,
            deployments,
            wanted,
            follows,
        }
    }

    /// What is to be stored of it.
    pub(super) fn stored(&self) -> Stored {
        let record = |intent: &Intent| IntentRecord {
            intent: intent.clone(),
            anchor: self.purposes.get(&intent.key).cloned(),
            order: self.orders.get(&intent.key).cloned(),
        };
        Stored {
            head: ChainRecord { outbox: self.outbox.head().clone(), contract: self.deployed.clone() },
            intents: self.outbox.intents().iter().map(|(number, intent)| (*number, record(intent))).collect(),
            wanted: self.wanted.clone(),
            follows: self.follows.clone(),
            deployments: self.deployments.clone(),
        }
    }

    /// The roots that are on their way, with their intents.
    pub(super) fn in_hand(&self) -> impl Iterator<Item = (&AnchorWish, &Intent)> {
        self.purposes.iter().filter_map(|(key, wish)| Some((wish, self.outbox.intent(key)?)))
    }

    /// A project's log is to be anchored.
    pub(super) fn want(&mut self, project: ProjectId, now: Timestamp) {
        self.wanted.entry(project).or_insert(WantedRecord { since: now });
    }

    /// The projects whose logs can become intents now: wanted, and none of theirs in hand. Without a contract none can;
    /// it is deployed first.
    pub(super) fn ready(&mut self, now: Timestamp) -> Result<Vec<ProjectId>, OutboxError> {
        if self.wanted.is_empty() {
            return Ok(Vec::new());
        }
        if self.contract.is_none() {
            let event = Event::Submitted { key: DEPLOY_KEY.to_owned(), action: Action::DeployReceiptLog };
            self.outbox.apply(event, now, &self.policy)?;
            return Ok(Vec::new());
        }
        let in_hand = |project: &ProjectId| self.in_hand().any(|(wish, _)| wish.project == *project);
        Ok(self.wanted.keys().filter(|project| !in_hand(project)).cloned().collect())
    }

    /// Makes an intent of a root. What is wanted of the project is in hand then.
    pub(super) fn submit(&mut self, wish: AnchorWish, log_id: Hash, now: Timestamp) -> Result<(), OutboxError> {
        let Some(contract) = self.contract.clone() else { return Ok(()) };
        let point = AnchorPoint { log_id: *log_id.as_bytes(), tree_size: wish.size, root: *wish.root.as_bytes() };
        let key = format!("anchor {} {}", wish.project, wish.size);
        let event = Event::Submitted { key: key.clone(), action: Action::Anchor { contract, point } };
        self.outbox.apply(event, now, &self.policy)?;
        self.wanted.remove(&wish.project);
        self.purposes.insert(key, wish);
        Ok(())
    }

    /// Takes the outcomes out of the outbox and says what they mean.
    pub(super) fn conclude(&mut self, chain: &ChainId, account: &str, now: Timestamp) -> Result<Vec<End>, OutboxError> {
        let done: Vec<(String, Outcome)> = self
            .outbox
            .intents()
            .values()
            .filter_map(|intent| Some((intent.key.clone(), intent.outcome.clone()?)))
            .collect();
        let mut ends = self.conclude_refused(now)?;
        for (key, outcome) in done {
            if let Some(order) = self.orders.remove(&key) {
                ends.push(End::Ordered(Box::new(Ended { order, end: Ok(outcome) })));
                self.outbox.apply(Event::Acknowledged { key }, now, &self.policy)?;
                continue;
            }
            if self.deployments.contains_key(&key) {
                ends.push(self.conclude_deployment(&key, &outcome));
                self.outbox.apply(Event::Acknowledged { key }, now, &self.policy)?;
                continue;
            }
            let wish = self.purposes.remove(&key);
            ends.extend(match wish {
                Some(wish) => Some(anchored(wish, self.contract_of(&key), &outcome, (chain, account), now)),
                None => self.deployed(&outcome),
            });
            self.outbox.apply(Event::Acknowledged { key }, now, &self.policy)?;
        }
        Ok(ends)
    }

    /// The contract that an intent's anchor went to, which need not be the one of now.
    fn contract_of(&self, key: &str) -> String {
        match self.outbox.intent(key).map(|intent| &intent.action) {
            Some(Action::Anchor { contract, .. }) => contract.clone(),
            _ => String::new(),
        }
    }

    fn deployed(&mut self, outcome: &Outcome) -> Option<End> {
        if outcome.succeeded && outcome.creates.is_some() {
            self.deployed.clone_from(&outcome.creates);
            self.contract.clone_from(&outcome.creates);
            return None;
        }
        let reason = format!("the contract could not be deployed: transaction {} failed", outcome.hash);
        Some(End::Refused { project: None, reason })
    }
}

fn anchored(
    wish: AnchorWish,
    contract: String,
    outcome: &Outcome,
    (chain, account): (&ChainId, &str),
    now: Timestamp,
) -> End {
    if !outcome.succeeded {
        let reason = format!(
            "the chain refused the root of {} leaves in transaction {}: it has a larger tree or another root",
            wish.size, outcome.hash
        );
        return End::Refused { project: Some(wish.project), reason };
    }
    let anchor = Anchor { chain: chain.to_string(), contract, transaction: outcome.hash.clone(), block: outcome.block };
    let AnchorWish { project, size, root, checkpoint, .. } = wish;
    let account = account.to_owned();
    let root = Box::new(AnchoredRoot { size, root, checkpoint, anchor, anchored_at: now, account });
    End::Anchored { project, root }
}
