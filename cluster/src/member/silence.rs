//! Who has been silent for too long, as one node hears it. A state machine: it reads no clock and no store.

use std::collections::BTreeMap;
use std::time::Duration;

use steward_types::NodeId;

use super::ClusterTiming;

/// One node's beat counter as read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) counter: u64,
}

/// Counts the silence of other nodes.
///
/// Silence counts only while this node itself listened: a look that comes late adds no more than a beat's time, because
/// whatever delayed this node may have delayed the others. So it takes several looks in a row to find a node dead, and
/// a machine that stood still for a minute finds nobody dead when it goes on.
#[derive(Debug)]
pub(crate) struct Silence {
    lease_time: Duration,
    look_max: Duration,
    last_look: Option<Duration>,
    nodes: BTreeMap<NodeId, (Heard, Duration)>,
}

impl Silence {
    pub(crate) fn new(timing: &ClusterTiming) -> Self {
        // A little over a beat's time, so that the looks of a node that is only slightly late count in full.
        let look_max = timing.beat_time * 5 / 4;
        Self { lease_time: timing.lease_time, look_max, last_look: None, nodes: BTreeMap::new() }
    }

    /// Takes what was heard at `now` (monotonic) and gives back who is dead. Nodes that are not in `heard` are
    /// forgotten.
    pub(crate) fn look(&mut self, now: Duration, heard: &[Heard]) -> Vec<Heard> {
        let since = self.last_look.map_or(Duration::ZERO, |last| now.saturating_sub(last)).min(self.look_max);
        self.last_look = Some(now);
        let before = std::mem::take(&mut self.nodes);
        let mut dead = Vec::new();
        for &node in heard {
            let silent = match before.get(&node.node) {
                Some(&(last, silent)) if last == node => silent + since,
                _ => Duration::ZERO,
            };
            if silent >= self.lease_time {
                dead.push(node);
            }
            self.nodes.insert(node.node, (node, silent));
        }
        dead
    }
}

/// Whose beats `me` listens to: the next `count` nodes on the ring of ids. So the cost of listening does not grow with
/// the cluster, and each node is heard by `count` others.
pub(crate) fn neighbours<T: Copy>(me: NodeId, others: &BTreeMap<NodeId, T>, count: usize) -> Vec<T> {
    let after = others.range((std::ops::Bound::Excluded(me), std::ops::Bound::Unbounded));
    let before = others.range(..me);
    after.chain(before).take(count).map(|(_, &node)| node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    fn heard(counter: u64) -> [Heard; 1] {
        [Heard { node: node(1), incarnation: 7, counter }]
    }

    fn silence() -> Silence {
        Silence::new(&ClusterTiming::default())
    }

    #[test]
    fn a_node_whose_counter_stands_still_for_the_lease_time_is_dead() {
        let mut silence = silence();
        let dead_at: Vec<u64> = (0..8)
            .map(|look| look * 300)
            .filter(|&millis| !silence.look(Duration::from_millis(millis), &heard(5)).is_empty())
            .collect();
        assert_eq!(dead_at.first(), Some(&1_200));
    }

    #[test]
    fn a_node_that_beats_or_joins_again_is_not_dead() {
        let mut silence = silence();
        for look in 0..100 {
            assert!(silence.look(Duration::from_millis(look * 400), &heard(look / 3)).is_empty(), "{look}");
        }
        let again = [Heard { incarnation: 8, ..heard(33)[0] }];
        assert!(silence.look(Duration::from_secs(60), &again).is_empty());
    }

    #[test]
    fn an_observer_that_was_late_does_not_hold_it_against_others() {
        let mut silence = silence();
        for hour in 0..4 {
            assert!(silence.look(Duration::from_secs(3_600 * hour), &heard(5)).is_empty(), "look {hour}");
        }
        assert_eq!(silence.look(Duration::from_secs(20_000), &heard(5)), heard(5));
    }

    #[test]
    fn every_node_is_heard_by_as_many_as_each_listens_to() {
        let nodes: BTreeMap<NodeId, NodeId> = (0..20).map(|number| (node(number), node(number))).collect();
        let mut listeners = BTreeMap::<NodeId, usize>::new();
        for &me in nodes.keys() {
            let heard = neighbours(me, &nodes, 8);
            assert!(heard.len() == 8 && !heard.contains(&me));
            heard.into_iter().for_each(|node| *listeners.entry(node).or_default() += 1);
        }
        assert!(listeners.len() == 20 && listeners.values().all(|&count| count == 8));
        assert_eq!(neighbours(node(1), &nodes, 100).len(), 19);
    }
}
