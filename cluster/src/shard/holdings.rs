//! What this process holds: a state machine of shards and epochs. It reads no store and calls no hook.

use std::collections::BTreeMap;

use steward_types::NodeId;

use super::{ShardRecord, View};

/// The shards that this process holds, and the epochs that it has given up.
///
/// An epoch that was given up, for whatever reason, is never held again: what was activated under it may not have ended
/// yet. A shard that is still this node's in the store is claimed anew, under the next epoch.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    held: BTreeMap<u32, Hold>,
    spent: BTreeMap<u32, u64>,
    /// Raised whenever all is given up, so that what was on its way then is not held afterwards.
    generation: u64,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    epoch: u64,
    releasing: bool,
}

/// How what is held differs from what the store says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Held, and not ours.
    pub(crate) lost: Vec<u32>,
    /// Ours, and not held: with their epochs.
    pub(crate) gained: Vec<(u32, u64)>,
}

impl Holdings {
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// How many shards are held, those on their way out included.
    pub(crate) fn count(&self) -> usize {
        self.held.len()
    }

    /// The epoch under which entities of the shard may still commit.
    pub(crate) fn epoch(&self, shard: u32) -> Option<u64> {
        self.held.get(&shard).map(|hold| hold.epoch)
    }

    /// Shards that are held and not on their way out.
    pub(crate) fn settled(&self) -> impl Iterator<Item = u32> + '_ {
        self.held.iter().filter(|(_, hold)| !hold.releasing).map(|(&shard, _)| shard)
    }

    pub(crate) fn compare(&self, view: &View, me: NodeId, incarnation: u64) -> Differences {
        let mut differences = Differences::default();
        for (&shard, hold) in &self.held {
            let ours = ShardRecord { owner: me, incarnation, epoch: hold.epoch };
            if view.shard(shard) != Some(&ours) {
                differences.lost.push(shard);
            }
        }
        for (shard, record) in (0u32..).zip(&view.shards) {
            let Some(record) = record.filter(|record| record.owner == me && record.incarnation == incarnation) else {
                continue;
            };
            let held = self.held.get(&shard).is_some_and(|hold| hold.epoch == record.epoch);
            if !held && !self.is_spent(shard, record.epoch) {
                differences.gained.push((shard, record.epoch));
            }
        }
        differences
    }

    /// Whether the epoch was given up before.
    pub(crate) fn is_spent(&self, shard: u32, epoch: u64) -> bool {
        self.spent.get(&shard).is_some_and(|&spent| epoch <= spent)
    }

    /// Holds what was gained, unless all was given up since `generation`. Gives back what is not held.
    pub(crate) fn hold(&mut self, gained: &[(u32, u64)], generation: u64) -> Vec<u32> {
        if generation != self.generation {
            gained.iter().for_each(|&(shard, epoch)| self.spend(shard, epoch));
            return gained.iter().map(|&(shard, _)| shard).collect();
        }
        let held = gained.iter().map(|&(shard, epoch)| (shard, Hold { epoch, releasing: false }));
        self.held.extend(held);
        Vec::new()
    }

    pub(crate) fn begin_release(&mut self, shard: u32) {
        if let Some(hold) = self.held.get_mut(&shard) {
            hold.releasing = true;
        }
    }

    /// Gives up one shard.
    pub(crate) fn give_up(&mut self, shard: u32) -> bool {
        let Some(hold) = self.held.remove(&shard) else { return false };
        self.spend(shard, hold.epoch);
        true
    }

    /// Gives up everything.
    pub(crate) fn give_up_all(&mut self) -> Vec<u32> {
        self.generation += 1;
        let shards: Vec<u32> = self.held.keys().copied().collect();
        shards.iter().for_each(|&shard| {
            self.give_up(shard);
        });
        shards
    }

    fn spend(&mut self, shard: u32, epoch: u64) {
        let spent = self.spent.entry(shard).or_default();
        *spent = epoch.max(*spent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId::from_bytes([1; 16]);
    const OTHER: NodeId = NodeId::from_bytes([2; 16]);

    fn view(records: &[(NodeId, u64)]) -> View {
        let shards = records.iter().map(|&(owner, epoch)| Some(ShardRecord { owner, incarnation: 7, epoch })).collect();
        View { shards, ..View::default() }
    }

    fn gained(holdings: &Holdings, view: &View) -> Vec<(u32, u64)> {
        holdings.compare(view, ME, 7).gained
    }

    #[test]
    fn what_the_store_gives_is_gained_and_what_it_takes_is_lost() {
        let mut holdings = Holdings::default();
        let first = view(&[(ME, 1), (OTHER, 1), (ME, 4)]);
        assert_eq!(gained(&holdings, &first), [(0, 1), (2, 4)]);
        assert!(holdings.hold(&[(0, 1), (2, 4)], 0).is_empty());
        assert_eq!(holdings.compare(&first, ME, 7), Differences::default());
        let second = view(&[(ME, 1), (ME, 2), (OTHER, 5)]);
        assert_eq!(holdings.compare(&second, ME, 7), Differences { lost: vec![2], gained: vec![(1, 2)] });
    }

    #[test]
    fn an_epoch_that_was_given_up_is_not_held_again() {
        let mut holdings = Holdings::default();
        holdings.hold(&[(0, 1)], 0);
        assert_eq!(holdings.give_up_all(), [0]);
        assert!(gained(&holdings, &view(&[(ME, 1)])).is_empty() && holdings.is_spent(0, 1));
        assert_eq!(gained(&holdings, &view(&[(ME, 2)])), [(0, 2)]);
    }

    #[test]
    fn what_was_on_its_way_when_all_was_given_up_is_not_held() {
        let mut holdings = Holdings::default();
        let generation = holdings.generation();
        holdings.give_up_all();
        assert_eq!(holdings.hold(&[(3, 9)], generation), [3]);
        assert!(holdings.count() == 0 && holdings.is_spent(3, 9));
    }

    #[test]
    fn a_shard_that_is_released_may_commit_and_is_not_settled() {
        let mut holdings = Holdings::default();
        holdings.hold(&[(0, 1), (1, 1)], 0);
        holdings.begin_release(1);
        assert_eq!((holdings.epoch(1), holdings.settled().collect::<Vec<_>>()), (Some(1), vec![0]));
        assert!(holdings.give_up(1) && holdings.epoch(1).is_none());
    }
}
