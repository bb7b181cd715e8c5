//! Tending: a node tells what it has, does what the plan asks of it, and, if it is one of the planners, writes the plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use steward_actors::host::{Entity, EntityId};
use steward_actors::model::{ModelReplica, ModelRequest};
use steward_storage::{StoreError, StoreExt, Txn, Watch};
use steward_types::limits::{BEAT_TIME, MACHINE_REPORT_TIME, RECONCILE_TIME_MIN};
use steward_types::{ModelId, NodeId};
use tokio::task::JoinSet;

use super::Shared;
use super::board::{Board, MachineRecord, PlacedRow, bump_version, machine_key, placed_key, version_key};
use super::plan::{is_planner, plan};
use super::shelf::Wished;
use crate::member::NodeRecord;
use crate::member::record::node_key;

/// Who lives, and in which life and state: what a plan follows from besides the board's own rows.
type Lives = BTreeMap<NodeId, (u64, crate::member::NodeState)>;

/// Tends until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut loads = JoinSet::new();
    let mut is_failing = false;
    loop {
        let lives = lives(&shared);
        match pass(&shared, &mut loads).await {
            Ok(Some(watch)) => {
                is_failing = false;
                wait(&shared, watch, &lives, &mut loads).await;
            }
            Ok(None) => is_failing = false,
            Err(error) => {
                if !is_failing {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the cluster's models could not be read or written; trying until it works");
                }
                is_failing = true;
                shared.clock.sleep(BEAT_TIME).await;
            }
        }
        shared.clock.sleep(RECONCILE_TIME_MIN).await;
    }
}

/// One look. Gives what to wait for, or nothing when something was changed and must be looked at at once.
async fn pass(shared: &Arc<Shared>, loads: &mut JoinSet<()>) -> Result<Option<Watch>, StoreError> {
    while loads.try_join_next().is_some() {}
    let txn = shared.store.begin();
    let board = Board::load(&txn).await?;
    let watch = txn.watch(&version_key())?;
    txn.commit().await?;
    let board = shared.publish(board);
    if is_planner(&board, shared.me()) && plan(&board).placed != board.placed && write_plan(shared).await? {
        return Ok(None);
    }
    arrange(shared, &board, loads);
    Ok(if report(shared, &board).await? { None } else { Some(watch) })
}

/// Waits for a change of the board, of who lives, or of this node. A device's load is told meanwhile, and nobody woken.
async fn wait(shared: &Arc<Shared>, watch: Watch, lives: &Lives, loads: &mut JoinSet<()>) {
    let mut watch = std::pin::pin!(watch);
    loop {
        let generation = shared.map.generation();
        if *lives != self::lives(shared) {
            return;
        }
        tokio::select! {
            changed = &mut watch => {
                if changed.is_err() {
                    // The watch was lost, with the store's server perhaps: not at once again.
                    shared.clock.sleep(BEAT_TIME).await;
                }
                return;
            }
            () = shared.kick.notified() => return,
            Some(_) = loads.join_next() => return,
            () = shared.map.changed_since(generation) => {}
            () = shared.clock.sleep(MACHINE_REPORT_TIME) => {
                shared.desk.sweep();
                if shared.shelf.is_clearing() {
                    return;
                }
                match report(shared, &shared.board()).await {
                    Ok(false) => {}
                    // Something is new here, or the store does not answer: the next pass deals with either.
                    Ok(true) | Err(_) => return,
                }
            }
        }
    }
}

fn lives(shared: &Shared) -> Lives {
    let view = shared.map.view();
    let living = view.members.values().filter(|member| member.state.is_alive());
    living.map(|member| (member.id, (member.incarnation, member.state))).collect()
}

/// Writes where replicas should be, from what the same transaction read. Says whether there was anything to write.
async fn write_plan(shared: &Shared) -> Result<bool, StoreError> {
    shared
        .store
        .run(|txn| async move {
            let board = Board::load(&txn).await?;
            let planned = plan(&board).placed;
            if planned == board.placed {
                return Ok(false);
            }
            for model in board.placed.keys().filter(|model| !planned.contains_key(*model)) {
                txn.clear(&placed_key(model))?;
            }
            for (model, replicas) in planned {
                if board.placed.get(&model) != Some(&replicas) {
                    tracing::info!(%model, replicas = replicas.len(), "the places of a model's replicas have changed");
                    txn.save(&placed_key(&model), &PlacedRow { replicas })?;
                }
            }
            forget_machines(&txn, &board)?;
            bump_version(&txn)?;
            Ok(true)
        })
        .await
}

/// Removes what nodes told that the store does not know any more.
fn forget_machines(txn: &Txn, board: &Board) -> Result<(), StoreError> {
    let mut unknown = board.machines.keys().filter(|node| !board.members.contains_key(node));
    unknown.try_for_each(|&node| txn.clear(&machine_key(node)))
}

/// Begins to load what this node should have, and takes off the shelf what it should not.
fn arrange(shared: &Arc<Shared>, board: &Board, loads: &mut JoinSet<()>) {
    shared.shelf.forgive(&board.offers);
    let mine = board.placed.iter().filter_map(|(model, replicas)| {
        let here = replicas.iter().find(|replica| replica.node == shared.me())?;
        let revision = board.offers.get(model)?.revision;
        Some((model.clone(), Wished { revision, device: here.device.clone() }))
    });
    let wished: BTreeMap<ModelId, Wished> = mine.collect();
    for id in shared.shelf.arrange(&wished) {
        let Some(offer) = board.offers.get(&id).cloned() else { continue };
        let shared = Arc::clone(shared);
        let Wished { device, .. } = wished[&id].clone();
        tracing::info!(model = %id, device, "loading a model that was placed here");
        loads.spawn(async move {
            shared.shelf.load(id.clone(), offer, device, &*shared.clock).await;
            show(&shared, &id);
        });
    }
}

/// Brings a model's entity into memory, so that operators see it.
fn show(shared: &Shared, id: &ModelId) {
    if let Some(host) = shared.host.get()
        && let Err(error) = host.tell::<ModelReplica>(&EntityId::from(id), ModelRequest::Status)
    {
        tracing::debug!(kind = ModelReplica::KIND, model = %id, %error, "a model is not shown");
    }
}

/// Writes this node's row when it is another than the store has, fenced by the node's life. Says whether others must
/// look at it: a load alone wakes nobody.
async fn report(shared: &Shared, board: &Board) -> Result<bool, StoreError> {
    let life = shared.map.life();
    let machine = &MachineRecord {
        incarnation: life.incarnation,
        devices: shared.shelf.device_reports(),
        replicas: shared.shelf.replica_reports(),
    };
    let told = board.machines.get(&life.node);
    if told == Some(machine) {
        return Ok(false);
    }
    let is_news = told.is_none_or(|told| told.is_another_than(machine));
    let written = shared
        .store
        .run(|txn| async move {
            let member = txn.load::<NodeRecord>(&node_key(life.node)).await?;
            // In another life, or dead to the others: membership deals with that first.
            if member.is_none_or(|member| member.incarnation != life.incarnation || !member.state.is_alive()) {
                return Ok::<bool, StoreError>(false);
            }
            txn.save(&machine_key(life.node), machine)?;
            if is_news {
                bump_version(&txn)?;
            }
            Ok(true)
        })
        .await?;
    if written && !is_news {
        let mut board = board.clone();
        board.machines.insert(life.node, machine.clone());
        shared.publish(board);
    }
    Ok(written && is_news)
}
