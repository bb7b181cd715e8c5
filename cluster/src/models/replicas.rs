//! Choosing a replica: the one that has seen the prompt's beginning, else the least busy one, else a wait for one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steward_inference::{Model, ModelError, ReplicaLoad};
use steward_types::limits::{MODEL_WAIT_TIME_MAX, PREFIX_SLACK_GENERATIONS, REPLICA_LOAD_FRESH_TIME};
use steward_types::{ModelId, NodeId};

use super::affinity::Prefixes;
use super::desk::busy;
use super::plan::plan;
use super::{Board, Shared};

/// One life of a node: a replica that was lost is not asked again, one of the node's next life may be.
pub(super) type NodeLife = (NodeId, u64);

/// A replica to ask.
#[derive(Debug, Clone)]
pub(super) enum Chosen {
    /// This node's own.
    Here(Arc<dyn Model>),
    /// Another node's.
    There(Place),
}

/// Another node that has a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) life: NodeLife,
    pub(super) address: String,
}

/// How busy replicas are, as far as this node knows: what it runs there itself, and what they said lately.
#[derive(Debug, Default)]
pub(super) struct Loads(Mutex<HashMap<(ModelId, NodeId), Known>>);

#[derive(Debug, Default, Clone, Copy)]
struct Known {
    mine: u32,
    told: ReplicaLoad,
    told_at: Duration,
}

/// One request under way to a replica.
#[derive(Debug)]
pub(super) struct UnderWay {
    shared: Arc<Shared>,
    key: (ModelId, NodeId),
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut known = self.shared.loads.0.lock();
        if let Some(entry) = known.get_mut(&self.key) {
            entry.mine = entry.mine.saturating_sub(1);
            if entry.mine == 0 && entry.told == ReplicaLoad::default() {
                known.remove(&self.key);
            }
        }
    }
}

impl Shared {
    /// Counts a request of this node's to a replica until the guard is dropped.
    pub(super) fn under_way(self: &Arc<Self>, model: &ModelId, node: NodeId) -> UnderWay {
        let key = (model.clone(), node);
        self.loads.0.lock().entry(key.clone()).or_default().mine += 1;
        UnderWay { shared: Arc::clone(self), key }
    }

    /// Notes what a replica said of its load.
    pub(super) fn heard(&self, model: &ModelId, node: NodeId, load: ReplicaLoad) {
        let now = self.clock.monotonic();
        let mut known = self.loads.0.lock();
        let entry = known.entry((model.clone(), node)).or_default();
        (entry.told, entry.told_at) = (load, now);
    }

    fn load_of(&self, model: &ModelId, node: NodeId, reported: ReplicaLoad) -> u32 {
        let known = self.loads.0.lock().get(&(model.clone(), node)).copied().unwrap_or_default();
        let is_fresh = self.clock.monotonic().saturating_sub(known.told_at) < REPLICA_LOAD_FRESH_TIME;
        let told = if is_fresh { known.told } else { reported };
        known.mine.max(busy(told))
    }

    /// A replica of the model that is in none of the lives `lost`. Waits for one while one is on its way.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] when the model is not offered any more, [`ModelError::Busy`] when none is ready in time,
    /// [`ModelError::Failed`] with the reason when none can be.
    pub(super) async fn choose(
        &self,
        model: &ModelId,
        prefixes: Option<&Prefixes>,
        lost: &BTreeSet<NodeLife>,
    ) -> Result<Chosen, ModelError> {
        let due = self.clock.monotonic().saturating_add(MODEL_WAIT_TIME_MAX);
        let mut boards = self.board.subscribe();
        loop {
            let board = Arc::clone(&boards.borrow_and_update());
            if let Some(chosen) = self.pick(&board, model, prefixes, lost) {
                return Ok(chosen);
            }
            hopeless(&board, model)?;
            let left = due.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                let reason = "none of its replicas was ready in time".to_owned();
                return Err(ModelError::Busy { id: model.clone(), reason });
            }
            tokio::select! {
                // The sender lives as long as this value.
                _ = boards.changed() => {}
                () = self.clock.sleep(left) => {}
            }
        }
    }

    fn pick(
        &self,
        board: &Board,
        model: &ModelId,
        prefixes: Option<&Prefixes>,
        lost: &BTreeSet<NodeLife>,
    ) -> Option<Chosen> {
        let me = self.me();
        let here = self.shelf.ready(model);
        let mut known: Vec<(u32, bool, Place)> = Vec::new();
        let mut drains = true;
        for (member, reported) in board.ready(model) {
            let life = (member.id, member.incarnation);
            let is_draining = member.state == crate::member::NodeState::Draining;
            if lost.contains(&life) || (member.id == me && here.is_none()) || (is_draining && !drains) {
                continue;
            }
            // Those that drain come last, and only if there is no other.
            drains &= is_draining;
            let load = match (&here, member.id == me) {
                (Some(own), true) => busy(own.load()).max(self.load_of(model, me, ReplicaLoad::default())),
                _ => self.load_of(model, member.id, reported),
            };
            known.push((load, member.id != me, Place { life, address: member.link_address.clone() }));
        }
        if known.len() > 1 && self.clock.monotonic().saturating_sub(*self.read_at.lock()) > REPLICA_LOAD_FRESH_TIME {
            self.kick.notify_one();
        }
        known.sort_by_key(|(load, is_away, place)| (*load, *is_away, place.life));
        let least = known.first()?.0;
        let remembered = prefixes.and_then(|prefixes| self.affinity.place(prefixes));
        let near = known.iter().find(|(load, _, place)| {
            Some(place.life.0) == remembered && *load <= least.saturating_add(PREFIX_SLACK_GENERATIONS)
        });
        let (_, _, place) = near.or_else(|| known.first())?;
        if let Some(prefixes) = prefixes {
            self.affinity.note(prefixes, place.life.0);
        }
        match here {
            Some(own) if place.life.0 == me => Some(Chosen::Here(own)),
            _ => Some(Chosen::There(place.clone())),
        }
    }
}

/// Fails when waiting for a replica leads nowhere.
fn hopeless(board: &Board, model: &ModelId) -> Result<(), ModelError> {
    if !board.offers.contains_key(model) {
        return Err(ModelError::NotFound { id: model.clone() });
    }
    let plan = plan(board);
    let has_place = plan.placed.get(model).is_some_and(|replicas| !replicas.is_empty());
    match plan.missing.get(model) {
        Some(missing) if !has_place && missing.is_certain() => Err(ModelError::Failed { what: missing.to_string() }),
        _ => Ok(()),
    }
}
