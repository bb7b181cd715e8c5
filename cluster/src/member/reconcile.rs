//! Reconciling: each node compares what it holds with the store and with the plan, and does its own part of the rest.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use steward_storage::Watch;
use steward_types::NodeId;
use steward_types::limits::RECONCILE_TIME_MIN;
use tokio::task::JoinSet;

use super::node::Node;
use super::{ClusterError, NodeState};
use crate::member::register::set_state;
use crate::shard::ownership::{Change, claim, hand_over};
use crate::shard::{ShardRecord, View};

/// Reconciles until it is dropped.
pub(super) async fn run(node: Arc<Node>) {
    let mut releases = JoinSet::new();
    let mut failures = 0u32;
    loop {
        match pass(&node, &mut releases).await {
            Ok(next) => {
                failures = 0;
                if let Next::Wait(watch) = next {
                    wait(&node, watch, &mut releases).await;
                }
            }
            Err(ClusterError::Replaced) => return node.replaced(),
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "reconciling failed; trying until it works"
                    );
                }
                node.clock.sleep(node.config.timing.beat_time).await;
            }
        }
        node.clock.sleep(RECONCILE_TIME_MIN).await;
    }
}

enum Next {
    /// Something was changed: look at once.
    Again,
    /// All is done that can be done now.
    Wait(Option<Watch>),
}

async fn wait(node: &Node, watch: Option<Watch>, releases: &mut JoinSet<()>) {
    let changed = async {
        // A watch that ends without a change says nothing; the beat looks at the version too.
        let seen = match watch {
            Some(watch) => watch.await.is_ok(),
            None => false,
        };
        if !seen {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = changed => {}
        () = node.map.kicked() => {}
        Some(_) = releases.join_next() => {}
    }
}

async fn pass(node: &Arc<Node>, releases: &mut JoinSet<()>) -> Result<Next, ClusterError> {
    while releases.try_join_next().is_some() {}
    let watch = node.map.load_watched().await?;
    let view = node.map.view();
    if !ensure_member(node, &view).await? {
        return Ok(Next::Again);
    }
    take_in(node, &view).await;
    let claimed = claim(&*node.store, node.map.life(), &wanted(node, &view)).await?;
    let handed = hand_over(&*node.store, node.map.life(), &given_up(node, &view)).await?;
    begin_releases(node, &view, releases);
    let held = node.map.with_holdings(|holdings| holdings.settled().count());
    metrics::gauge!("steward_cluster_shards_held").set(held as f64);
    Ok(if claimed + handed > 0 { Next::Again } else { Next::Wait(watch) })
}

/// Whether this node is a member in its present life; joins again when it is not.
async fn ensure_member(node: &Node, view: &View) -> Result<bool, ClusterError> {
    let life = node.map.life();
    let state = match view.members.get(&life.node) {
        Some(record) if record.incarnation != life.incarnation => {
            // An attempt to join again whose outcome was not known has succeeded, or somebody else has this id.
            return if node.adopt(record.incarnation) { Ok(false) } else { Err(ClusterError::Replaced) };
        }
        Some(record) => record.state,
        None => NodeState::Down,
    };
    if !state.is_alive() {
        node.forfeit("the cluster has taken this node for dead");
        node.register(Some(life.incarnation)).await?;
        return Ok(false);
    }
    let draining = node.draining.load(Ordering::Acquire);
    let wanted = if draining { NodeState::Draining } else { NodeState::Up };
    // A node whose first beat is not written yet stays joining.
    if state != wanted && node.map.is_fresh() {
        set_state(&*node.store, life, wanted, node.clock.now()).await?;
        return Ok(false);
    }
    Ok(true)
}

/// Stops what is lost and starts what is gained.
async fn take_in(node: &Node, view: &View) {
    let life = node.map.life();
    let (differences, generation) =
        node.map.with_holdings(|holdings| (holdings.compare(view, life.node, life.incarnation), holdings.generation()));
    node.lose(&differences.lost);
    let gained: Vec<u32> = differences.gained.iter().map(|&(shard, _)| shard).collect();
    // A node that cannot write its beat takes nothing new, because it would have to give it up at once.
    if gained.is_empty() || !node.map.is_fresh() {
        return;
    }
    node.hooks.acquired(&gained).await;
    let refused = node.map.with_holdings(|holdings| holdings.hold(&differences.gained, generation));
    if refused.is_empty() {
        node.hooks.serving(&gained);
    } else {
        node.hooks.lost(&refused);
    }
    tracing::debug!(node = %life.node, shards = gained.len(), "took shards");
    metrics::counter!("steward_cluster_shards_gained_total").increment(gained.len() as u64);
}

/// Shards that the plan gives to this node and that nobody holds.
fn wanted(node: &Node, view: &View) -> Vec<Change> {
    if !node.map.is_fresh() {
        return Vec::new();
    }
    let life = node.map.life();
    node.map.with_holdings(|holdings| {
        let free = |&(shard, target, seen): &Row| {
            let spent = |record: ShardRecord| {
                record.owner == life.node
                    && record.incarnation == life.incarnation
                    && holdings.is_spent(shard, record.epoch)
                    && holdings.epoch(shard).is_none()
            };
            target == Some(life.node) && seen.is_none_or(|record| !view.is_living(&record) || spent(record))
        };
        rows(view).filter(free).map(|(shard, _, seen)| Change { shard, seen, to: life.node }).collect()
    })
}

/// This node's own shards whose entities are put away, and that belong elsewhere.
fn given_up(node: &Node, view: &View) -> Vec<Change> {
    let life = node.map.life();
    node.map.with_holdings(|holdings| {
        let change = |(shard, target, seen): Row| {
            let record = seen.filter(|record| record.owner == life.node && record.incarnation == life.incarnation)?;
            let put_away = holdings.epoch(shard).is_none() && holdings.is_spent(shard, record.epoch);
            let to = target.filter(|target| *target != life.node && put_away)?;
            Some(Change { shard, seen, to })
        };
        rows(view).filter_map(change).collect()
    })
}

type Row = (u32, Option<NodeId>, Option<ShardRecord>);

fn rows(view: &View) -> impl Iterator<Item = Row> + '_ {
    (0u32..).zip(&view.plan).zip(&view.shards).map(|((shard, target), seen)| (shard, *target, *seen))
}

/// Begins to move shards that belong elsewhere: as many as this node's part of the moves of the whole cluster.
fn begin_releases(node: &Arc<Node>, view: &View, releases: &mut JoinSet<()>) {
    let me = node.config.identity.id;
    let part = (node.config.timing.moves_in_flight_max / view.movers().max(1)).max(1);
    let room = part.saturating_sub(releases.len());
    let leaving: BTreeSet<u32> = node.map.with_holdings(|holdings| {
        let elsewhere = |shard: &u32| view.target(*shard).is_some_and(|target| target != me);
        let leaving: BTreeSet<u32> = holdings.settled().filter(elsewhere).take(room).collect();
        leaving.iter().for_each(|&shard| holdings.begin_release(shard));
        leaving
    });
    for shard in leaving {
        releases.spawn(release(Arc::clone(node), shard));
    }
}

async fn release(node: Arc<Node>, shard: u32) {
    let within = node.config.timing.release_time;
    tokio::select! {
        () = node.hooks.release(shard, within) => {
            node.map.with_holdings(|holdings| holdings.give_up(shard));
        }
        () = node.clock.sleep(within) => {
            tracing::warn!(shard, "the shard's entities did not finish in time and were stopped");
            node.lose(&[shard]);
        }
    }
}
