//! What the store knows of models and machines: which models are offered, what each node has and how it is doing, and
//! where replicas should be. All nodes read it; each writes its own machine's row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use steward_actors::model::ModelOffer;
use steward_inference::{DeviceKind, ReplicaLoad};
use steward_storage::{AtomicOp, Isolation, Record, StoreError, Subspace, Txn, key};
use steward_types::{ModelId, NodeId};

use crate::member::record::{nodes, read_counter};
use crate::member::{NodeRecord, NodeState};
use crate::placement::Replica;
use crate::shard::view::scan;

/// What a node tells of its devices and of the models on them. It counts only in the life that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MachineRecord {
    /// The life of the node that wrote it.
    pub incarnation: u64,
    /// Its devices.
    pub devices: Vec<DeviceReport>,
    /// The models that it has, loads or could not load.
    pub replicas: BTreeMap<ModelId, ReplicaReport>,
}

/// A device's memory and load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Its name on its node.
    pub name: String,
    /// What it is.
    #[serde(default)]
    pub kind: DeviceKind,
    /// Bytes that models may take.
    pub total_bytes: u64,
    /// Bytes that they take, caches included.
    pub used_bytes: u64,
    /// Generations on it that make tokens or wait, in thousandths of what one replica runs at once.
    pub load_permille: u32,
    /// Why nothing can be done on it any more; none while it works.
    #[serde(default)]
    pub failure: Option<String>,
}

/// A model on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// On which device.
    pub device: String,
    /// Of which adding of the model: see [`ModelOffer::revision`].
    pub revision: u64,
    /// How it is doing.
    pub state: ReplicaState,
    /// Devices of the node that could not have it before.
    #[serde(default)]
    pub refused: Vec<String>,
}

/// How a model on one node is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It is being loaded.
    Loading,
    /// It takes requests.
    Ready {
        /// How busy it is.
        load: ReplicaLoad,
    },
    /// It takes no requests any more; its memory is free once those in hand are done.
    Leaving,
    /// This node cannot have it.
    Failed {
        /// Why.
        why: String,
    },
}

impl Record for MachineRecord {
    const NAME: &'static str = "machine";
    const VERSION: u16 = 1;
}

impl MachineRecord {
    /// The same without what changes from moment to moment: others need not be woken for that.
    fn at_rest(&self) -> Self {
        let mut rest = self.clone();
        for device in &mut rest.devices {
            (device.used_bytes, device.load_permille) = (0, 0);
        }
        for replica in rest.replicas.values_mut() {
            if let ReplicaState::Ready { load } = &mut replica.state {
                *load = ReplicaLoad::default();
            }
        }
        rest
    }

    /// Whether the other differs in more than loads.
    pub(super) fn is_another_than(&self, other: &Self) -> bool {
        self.at_rest() != other.at_rest()
    }
}

/// Where a model's replicas should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct PlacedRow {
    pub(super) replicas: Vec<Replica>,
}

impl Record for PlacedRow {
    const NAME: &'static str = "placed";
    const VERSION: u16 = 1;
}

fn machines() -> Subspace {
    Subspace::from(("cluster", "machine"))
}

fn placed() -> Subspace {
    Subspace::from(("cluster", "placed"))
}

pub(super) fn machine_key(node: NodeId) -> Vec<u8> {
    machines().pack(&node.to_string())
}

pub(super) fn placed_key(model: &ModelId) -> Vec<u8> {
    placed().pack(&model.as_str())
}

/// A counter that is raised by whatever the other nodes must see, so that one watch sees it all.
pub(super) fn version_key() -> Vec<u8> {
    key::pack(&("cluster", "models"))
}

pub(super) fn bump_version(txn: &Txn) -> Result<(), StoreError> {
    txn.atomic(&version_key(), AtomicOp::Add, 1)
}

/// Models and machines at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Board {
    /// Raised by each change but those of loads.
    pub version: u64,
    /// All nodes that the store knows of.
    pub members: BTreeMap<NodeId, NodeRecord>,
    /// The models.
    pub offers: BTreeMap<ModelId, ModelOffer>,
    /// What each node tells of itself.
    pub machines: BTreeMap<NodeId, MachineRecord>,
    /// Where the replicas of each model should be.
    pub placed: BTreeMap<ModelId, Vec<Replica>>,
}

impl Board {
    /// Reads everything. A later write of the same transaction conflicts with changes of offers and places, not with
    /// those of machines and members, which change all the time and are looked at again soon.
    pub(super) async fn load(txn: &Txn) -> Result<Self, StoreError> {
        let version = read_counter(txn, &version_key(), Isolation::Snapshot).await?;
        let members = scan::<NodeRecord>(txn, &nodes(), Isolation::Snapshot).await?;
        let members = members.into_iter().map(|(_, record)| (record.id, record)).collect();
        let mut board = Self { version, members, ..Self::default() };
        for (row, machine) in scan::<MachineRecord>(txn, &machines(), Isolation::Snapshot).await? {
            let (node,): (String,) = key::unpack_below(&machines(), &row)?;
            board.machines.insert(named(&row, &node)?, machine);
        }
        for (row, found) in scan::<PlacedRow>(txn, &placed(), Isolation::Serializable).await? {
            let (model,): (String,) = key::unpack_below(&placed(), &row)?;
            board.placed.insert(named(&row, &model)?, found.replicas);
        }
        let mut range = Some(ModelOffer::rows());
        while let Some(rest) = range {
            let (offers, rest) = ModelOffer::page(txn, rest).await?;
            board.offers.extend(offers);
            range = rest;
        }
        Ok(board)
    }

    /// A node that lives, and what it tells in its present life.
    pub fn living(&self, node: NodeId) -> Option<(&NodeRecord, &MachineRecord)> {
        let member = self.members.get(&node).filter(|member| member.state.is_alive())?;
        let machine = self.machines.get(&node).filter(|machine| machine.incarnation == member.incarnation)?;
        Some((member, machine))
    }

    /// Every node that lives, and what it tells.
    pub fn all_living(&self) -> impl Iterator<Item = (&NodeRecord, &MachineRecord)> {
        self.members.keys().filter_map(|&node| self.living(node))
    }

    /// What a living node tells of a model as it is offered now.
    pub fn report(&self, node: NodeId, model: &ModelId) -> Option<&ReplicaReport> {
        let revision = self.offers.get(model)?.revision;
        let (_, machine) = self.living(node)?;
        machine.replicas.get(model).filter(|report| report.revision == revision)
    }

    /// The nodes that take requests for a model, those that drain last.
    pub fn ready(&self, model: &ModelId) -> Vec<(&NodeRecord, ReplicaLoad)> {
        let ready = |(member, _): (_, _)| -> Option<(&NodeRecord, ReplicaLoad)> {
            let member: &NodeRecord = member;
            match self.report(member.id, model)?.state {
                ReplicaState::Ready { load } => Some((member, load)),
                _ => None,
            }
        };
        let mut found: Vec<_> = self.all_living().filter_map(ready).collect();
        found.sort_by_key(|(member, _)| (member.state == NodeState::Draining, member.id));
        found
    }
}

fn named<T: std::str::FromStr>(row: &[u8], name: &str) -> Result<T, StoreError> {
    name.parse().map_err(|_| StoreError::Corrupt(format!("the key {} names nothing", row.escape_ascii())))
}
