//! Where replicas should be, by what the store knows: a pure function, the same on every node that reads the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use steward_actors::model::{ModelOffer, Replicas};
use steward_inference::ModelCard;
use steward_types::limits::MODEL_PLANNERS;
use steward_types::{ModelId, NodeId};

use super::board::{Board, ReplicaState};
use crate::member::NodeState;
use crate::placement::{DeviceLoad, Replica, ReplicaWish, place_replicas};

/// Where replicas should be, and what stands in the way of more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The places of each model's replicas, in order.
    pub placed: BTreeMap<ModelId, Vec<Replica>>,
    /// Models with fewer replicas than are wished.
    pub missing: BTreeMap<ModelId, Missing>,
}

/// Why a model has fewer replicas than are wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// How many there should be.
    pub wished: u32,
    /// How many of them have no place.
    pub replicas: u32,
    /// Bytes that each needs.
    pub needed_bytes: u64,
    /// The device with the most room that has none yet, and its free bytes.
    pub roomiest: Option<(Replica, u64)>,
    /// Nodes that could not load it, and why.
    pub failed: Vec<(NodeId, String)>,
}

impl Missing {
    /// Whether somebody was asked: a cluster that has only begun to start knows of no device yet.
    pub fn is_certain(&self) -> bool {
        self.roomiest.is_some() || !self.failed.is_empty()
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if self.replicas > 0 {
            let Self { wished, replicas, needed_bytes, .. } = self;
            write!(f, "{replicas} of {wished} replicas found no room: each needs {needed_bytes} bytes, ")?;
            match &self.roomiest {
                Some((at, free)) => {
                    write!(f, "and the most that is free is {free} bytes on {} of {}", at.device, at.node)?
                }
                None => f.write_str("and no further node is there")?,
            }
            separator = "; ";
        }
        for (node, why) in &self.failed {
            write!(f, "{separator}{node} could not load it: {why}")?;
            separator = "; ";
        }
        Ok(())
    }
}

/// Bytes that a replica needs: its weights, and the cache of one sequence that fills the whole context.
pub fn needed_bytes(card: &ModelCard) -> (u64, u64) {
    (card.weights_bytes, card.kv_bytes_per_token.saturating_mul(u64::from(card.context_tokens)))
}

/// Whether this node is one of those that write the plan.
pub(super) fn is_planner(board: &Board, me: NodeId) -> bool {
    let alive = board.members.values().filter(|member| member.state.is_alive());
    alive.take(MODEL_PLANNERS).any(|member| member.id == me)
}

/// Plans the replicas of all models. What is in place stays; what is on a node that drains stays until as many are
/// ready elsewhere as are wished; a node that could not load a model is not asked again until it is added anew.
pub fn plan(board: &Board) -> Plan {
    let planning = Planning { board };
    let devices = planning.devices();
    let wishes: Vec<ReplicaWish> = board.offers.iter().map(|(model, offer)| planning.wish(model, offer)).collect();
    let found = place_replicas(&devices, &wishes);
    let mut plan = Plan::default();
    for wish in &wishes {
        let mut replicas = found.placed.get(&wish.model).cloned().unwrap_or_default();
        let unplaced = found.unplaced.iter().find(|unplaced| unplaced.model == wish.model);
        if let Some(missing) = planning.missing(wish, &replicas, unplaced.map_or(0, |unplaced| unplaced.replicas)) {
            plan.missing.insert(wish.model.clone(), missing);
        }
        replicas.extend(planning.leaving(wish, &replicas));
        replicas.sort_unstable();
        plan.placed.insert(wish.model.clone(), replicas);
    }
    plan
}

struct Planning<'a> {
    board: &'a Board,
}

impl Planning<'_> {
    /// The devices of all nodes that take replicas, with what is free once everything in place has what it may need.
    fn devices(&self) -> Vec<DeviceLoad> {
        let mut devices = Vec::new();
        for (member, machine) in self.board.all_living().filter(|(member, _)| member.state == NodeState::Up) {
            for device in machine.devices.iter().filter(|device| device.failure.is_none()) {
                let at = Replica { node: member.id, device: device.name.clone() };
                devices.push(DeviceLoad {
                    node: member.id,
                    zone: member.zone.clone(),
                    memory_free_bytes: device.total_bytes.saturating_sub(self.taken_bytes(&at)),
                    device: at.device,
                    kind: device.kind,
                    load_permille: device.load_permille,
                });
            }
        }
        devices
    }

    fn taken_bytes(&self, at: &Replica) -> u64 {
        let placed =
            self.board.placed.iter().filter(|(model, replicas)| replicas.contains(at) && !self.failed(at, model));
        let machine = self.board.living(at.node).map(|(_, machine)| machine);
        let there = machine.into_iter().flat_map(|machine| &machine.replicas);
        let there = there
            .filter(|(_, report)| report.device == at.device && !matches!(report.state, ReplicaState::Failed { .. }));
        let models: BTreeSet<&ModelId> = placed.map(|(model, _)| model).chain(there.map(|(model, _)| model)).collect();
        let card = |model| self.board.offers.get(model).and_then(|offer| offer.card.as_ref());
        let bytes = models.into_iter().filter_map(card).map(needed_bytes);
        bytes.fold(0, |sum, (weights, cache)| sum.saturating_add(weights).saturating_add(cache))
    }

    fn failed(&self, at: &Replica, model: &ModelId) -> bool {
        let Some(report) = self.board.report(at.node, model) else { return false };
        let is_there = report.device == at.device;
        report.refused.contains(&at.device) || is_there && matches!(report.state, ReplicaState::Failed { .. })
    }

    /// Whether a model is on a device, wherever it was placed: it went there when the one that it was on failed.
    fn is_there(&self, at: &Replica, model: &ModelId) -> bool {
        let report = self.board.report(at.node, model);
        report.is_some_and(|report| report.device == at.device && matches!(report.state, ReplicaState::Ready { .. }))
    }

    /// Whether a device works and is of a kind that the model can be on.
    fn suits(&self, at: &Replica, offer: &ModelOffer) -> bool {
        let Some((_, machine)) = self.board.living(at.node) else { return false };
        let device = machine.devices.iter().find(|device| device.name == at.device);
        let device = device.filter(|device| device.failure.is_none());
        device.is_some_and(|device| offer.card.as_ref().is_none_or(|card| device.kind.suits(card)))
    }

    fn wish(&self, model: &ModelId, offer: &ModelOffer) -> ReplicaWish {
        let up = || self.board.all_living().filter(|(member, _)| member.state == NodeState::Up);
        let places = |(member, machine): (&crate::member::NodeRecord, &super::board::MachineRecord)| {
            let node = member.id;
            machine.devices.iter().map(move |device| Replica { node, device: device.name.clone() }).collect::<Vec<_>>()
        };
        let (refused, open): (Vec<Replica>, Vec<Replica>) =
            up().flat_map(places).partition(|at| self.failed(at, model) || !self.suits(at, offer));
        let placed = self.board.placed.get(model).into_iter().flatten();
        let (weights_bytes, kv_bytes) = offer.card.as_ref().map(needed_bytes).unwrap_or_default();
        let nodes: BTreeSet<NodeId> = open.iter().map(|at| at.node).collect();
        ReplicaWish {
            model: model.clone(),
            weights_bytes,
            kv_bytes,
            replicas: match offer.replicas {
                Replicas::Count(count) => count.get(),
                Replicas::Each => u32::try_from(nodes.len()).unwrap_or(u32::MAX),
            },
            present: placed.filter(|at| open.contains(at)).cloned().collect(),
            there: open.iter().filter(|at| self.is_there(at, model)).cloned().collect(),
            refused,
        }
    }

    /// Replicas on nodes that drain, which stay until as many as are wished are ready elsewhere.
    fn leaving(&self, wish: &ReplicaWish, staying: &[Replica]) -> Vec<Replica> {
        let is_ready = |at: &&Replica| {
            let report = self.board.report(at.node, &wish.model);
            report.is_some_and(|report| matches!(report.state, ReplicaState::Ready { .. }))
        };
        let drains =
            |at: &&Replica| self.board.living(at.node).is_some_and(|(member, _)| member.state == NodeState::Draining);
        // With a replica on each node, those that stay have theirs already.
        let wished = if self.is_on_each(&wish.model) { 1 } else { wish.replicas as usize };
        let short = wished.saturating_sub(staying.iter().filter(is_ready).count());
        let placed = self.board.placed.get(&wish.model).into_iter().flatten();
        placed.filter(drains).filter(is_ready).take(short).cloned().collect()
    }

    fn is_on_each(&self, model: &ModelId) -> bool {
        self.board.offers.get(model).is_some_and(|offer| offer.replicas == Replicas::Each)
    }

    fn missing(&self, wish: &ReplicaWish, staying: &[Replica], unplaced: u32) -> Option<Missing> {
        let why = |node: NodeId| match &self.board.report(node, &wish.model)?.state {
            ReplicaState::Failed { why } => Some((node, why.clone())),
            _ => None,
        };
        let failed: Vec<(NodeId, String)> =
            wish.refused.iter().map(|at| at.node).collect::<BTreeSet<_>>().into_iter().filter_map(why).collect();
        // A model that is to be on so many nodes does not miss those that could not have it.
        if unplaced == 0 && (failed.is_empty() || !self.is_on_each(&wish.model)) {
            return None;
        }
        let open = self.devices().into_iter().map(|device| {
            let free = device.memory_free_bytes;
            (Replica { node: device.node, device: device.device }, free)
        });
        let open = open.filter(|(at, _)| !staying.contains(at) && !wish.refused.contains(at));
        Some(Missing {
            wished: wish.replicas,
            replicas: unplaced,
            needed_bytes: wish.weights_bytes.saturating_add(wish.kv_bytes),
            roomiest: open.max_by_key(|(_, free)| *free),
            failed,
        })
    }
}
