//! The beat: a node shows that it lives, hears whether others do, and knows when it may be taken for dead itself.

use std::collections::BTreeMap;
use std::convert::Infallible as Never;
use std::sync::Arc;
use std::time::Duration;

use steward_types::NodeId;
use steward_types::limits::{BEAT_PATIENCE_MAX, BEATS_OBSERVED_MAX};
use tokio::task::JoinSet;

use super::node::Node;
use super::register::{Beat, beat, evict_silent};
use super::silence::{Heard, Silence, neighbours};
use crate::shard::ownership::Life;

/// Beats until it is dropped.
pub(super) async fn run(node: Arc<Node>) {
    let mut silence = Silence::new(&node.config.timing);
    let mut evictions = JoinSet::new();
    let mut unanswered = 0;
    while !node.is_replaced() {
        let began = node.clock.monotonic();
        let written = once(&node, began, patience(&node, unanswered), &mut silence, &mut evictions).await;
        unanswered = if written == Some(true) { 0 } else { unanswered + u32::from(written.is_none()) };
        while evictions.try_join_next().is_some() {}
        let beat_time = node.config.timing.beat_time;
        // After a failure it tries again sooner, because time runs out.
        let pause = if written == Some(true) { beat_time } else { beat_time / 3 };
        let elapsed = node.clock.monotonic().saturating_sub(began);
        node.clock.sleep(pause.saturating_sub(elapsed).max(Duration::from_millis(1))).await;
    }
}

/// How long a beat is waited for after so many in a row that were not answered. Longer each time: a store that answers
/// late answers, and one that is asked again and again before it can is only kept busier.
fn patience(node: &Node, unanswered: u32) -> Duration {
    let first = node.map.belief_time().max(node.config.timing.lease_time);
    first.saturating_mul(1 << unanswered.min(8)).min(BEAT_PATIENCE_MAX.max(first))
}

/// One beat. Says whether it was written; `None` when there was no answer in time.
async fn once(
    node: &Arc<Node>,
    began: Duration,
    patience: Duration,
    silence: &mut Silence,
    evictions: &mut JoinSet<()>,
) -> Option<bool> {
    let listened = listened(node);
    let outcome = tokio::select! {
        outcome = beat(&*node.store, node.map.life(), &listened) => Some(outcome),
        never = give_up_once_silent(node) => match never {},
        () = node.clock.sleep(patience) => None,
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
            return Some(true);
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
            return None;
        }
    }
    Some(false)
}

/// Gives up when this node's belief in its leases ends while a beat is on its way; never returns.
async fn give_up_once_silent(node: &Node) -> Never {
    loop {
        let since = node.map.since_confirmed().unwrap_or_default();
        let left = node.map.belief_time().saturating_sub(since);
        // A node that was not scheduled for a while lets the store answer before it gives up what may be its own.
        node.clock.sleep(left.max(node.config.timing.beat_time)).await;
        give_up_when_silent(node);
    }
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
