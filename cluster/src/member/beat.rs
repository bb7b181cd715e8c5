//! The beat: a node shows that it lives, hears whether others do, and knows when it may be taken for dead itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use steward_types::NodeId;
use steward_types::limits::BEATS_OBSERVED_MAX;
use tokio::task::JoinSet;

use super::node::Node;
use super::register::{Beat, beat, evict_silent};
use super::silence::{Heard, Silence, neighbours};
use crate::shard::ownership::Life;

/// Beats until it is dropped.
pub(super) async fn run(node: Arc<Node>) {
    let mut silence = Silence::new(&node.config.timing);
    let mut evictions = JoinSet::new();
    while !node.is_replaced() {
        let began = node.clock.monotonic();
        let written = once(&node, began, &mut silence, &mut evictions).await;
        while evictions.try_join_next().is_some() {}
        let beat_time = node.config.timing.beat_time;
        // After a failure it tries again sooner, because time runs out.
        let pause = if written { beat_time } else { beat_time / 3 };
        let elapsed = node.clock.monotonic().saturating_sub(began);
        node.clock.sleep(pause.saturating_sub(elapsed).max(Duration::from_millis(1))).await;
    }
}

/// One beat. Says whether it was written.
async fn once(node: &Arc<Node>, began: Duration, silence: &mut Silence, evictions: &mut JoinSet<()>) -> bool {
    let listened = listened(node);
    let outcome = tokio::select! {
        outcome = beat(&*node.store, node.map.life(), &listened) => Some(outcome),
        () = node.clock.sleep(patience(node)) => None,
    };
    match outcome {
        Some(Ok(Beat::Written { version, heard })) => {
            // After a gap there may be shards to take that it did not dare to take before.
            if node.map.confirm(began) || version != node.map.view().version {
                node.map.kick();
            }
            for dead in silence.look(began, &heard) {
                evictions.spawn(evict(Arc::clone(node), dead));
            }
            return true;
        }
        Some(Ok(Beat::Evicted)) => {
            node.forfeit("the cluster has taken this node for dead");
            node.map.kick();
        }
        Some(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a beat could not be written");
            give_up_when_silent(node);
        }
        None => {
            tracing::warn!("the store does not answer a beat");
            give_up_when_silent(node);
        }
    }
    false
}

/// How long one beat may take: until this node's leases run out, but always a beat's time, so that a node which was not
/// scheduled for a while asks the store before it gives up what may still be its own.
fn patience(node: &Node) -> Duration {
    let timing = &node.config.timing;
    let since = node.map.since_confirmed().unwrap_or_default();
    timing.belief_time().saturating_sub(since).max(timing.beat_time)
}

fn give_up_when_silent(node: &Node) {
    if !node.map.is_fresh() {
        node.forfeit("no beat could be written for too long");
    }
}

fn listened(node: &Node) -> Vec<Life> {
    let view = node.map.view();
    let others: BTreeMap<NodeId, Life> = view
        .members
        .values()
        .filter(|other| other.id != node.config.identity.id && other.state.is_alive())
        .map(|other| (other.id, Life { node: other.id, incarnation: other.incarnation }))
        .collect();
    neighbours(node.config.identity.id, &others, BEATS_OBSERVED_MAX)
}

async fn evict(node: Arc<Node>, dead: Heard) {
    match evict_silent(&*node.store, dead, node.clock.now()).await {
        Ok(true) => {
            tracing::warn!(node = %dead.node, "took a silent node for dead");
            metrics::counter!("steward_cluster_evictions_total").increment(1);
            node.map.kick();
        }
        Ok(false) => {}
        // It is still silent at the next look, if it is dead.
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, node = %dead.node, "eviction failed"),
    }
}
