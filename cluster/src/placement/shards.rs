//! Which node should own which shard: balanced by weight, with as few moves as that takes.
//!
//! Each node's fair share is a fraction; it gets the whole number below or above it. Who holds a number of shards within
//! those two keeps them all, so that a join moves only what the new node gets and a leave only what the old one had.
//! The answer does not change while its moves are carried out one by one, in whatever order.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use steward_types::NodeId;

use crate::member::NodeState;

/// A release's number, such as 0.1.0, in the order of releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Release(pub [u32; 3]);

impl Release {
    /// Reads "1.2.3"; what is no number counts as zero, and a suffix is left out.
    pub fn parse(text: &str) -> Self {
        let mut numbers = text.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
        Self([(); 3].map(|()| numbers.next().unwrap_or(0)))
    }
}

/// A node as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub id: NodeId,
    /// Its share compared with others'. When all weigh nothing, all count alike.
    pub weight: u32,
    /// What fails together with it.
    pub zone: String,
    /// What it runs: of two nodes that could take one shard more, the newer release gets it.
    pub release: Release,
    /// Only [`NodeState::Up`] gets shards.
    pub state: NodeState,
}

/// The owner that each shard should have.
///
/// `current` is who has it now; an owner that is no member, or is not alive, counts as none. `pins` are shards that must
/// be on a node if that is up. A shard has no owner only when no node is up, and one that drains keeps what it has then.
pub fn place(members: &[Member], current: &[Option<NodeId>], pins: &BTreeMap<u32, NodeId>) -> Vec<Option<NodeId>> {
    let mut up: Vec<&Member> = members.iter().filter(|member| member.state == NodeState::Up).collect();
    up.sort_by_key(|member| member.id);
    up.dedup_by_key(|member| member.id);
    if up.is_empty() {
        let alive = |id: &NodeId| members.iter().any(|member| member.id == *id && member.state.is_alive());
        return current.iter().map(|owner| owner.filter(alive)).collect();
    }
    let mut plan = Plan::new(&up, current, pins);
    plan.keep_what_fits();
    plan.take_for_the_poor();
    plan.give();
    plan.owners.iter().map(|owner| owner.map(|at| up[at].id)).collect()
}

struct Plan {
    /// Index into the members, by shard.
    owners: Vec<Option<usize>>,
    holders: Vec<Holder>,
    /// Holders in the order in which they get one shard more than others.
    preferred: Vec<usize>,
    /// Shards without an owner, in order.
    pool: Vec<usize>,
}

struct Holder {
    /// The whole numbers below and above its fair share.
    least: usize,
    most: usize,
    /// Shards that are pinned to it.
    pinned: usize,
    /// Shards that it holds and that are not pinned, in order.
    free: Vec<usize>,
}

impl Holder {
    fn held(&self) -> usize {
        self.pinned + self.free.len()
    }
}

impl Plan {
    fn new(up: &[&Member], current: &[Option<NodeId>], pins: &BTreeMap<u32, NodeId>) -> Self {
        let index: BTreeMap<NodeId, usize> = up.iter().enumerate().map(|(at, member)| (member.id, at)).collect();
        let mut holders = shares(up, current.len());
        let mut owners: Vec<Option<usize>> =
            current.iter().map(|owner| owner.and_then(|id| index.get(&id).copied())).collect();
        let mut pinned = vec![false; owners.len()];
        for (&shard, node) in pins {
            let (Some(&at), Ok(shard)) = (index.get(node), usize::try_from(shard)) else { continue };
            if let Some(owner) = owners.get_mut(shard) {
                *owner = Some(at);
                pinned[shard] = true;
                holders[at].pinned += 1;
            }
        }
        let mut pool = Vec::new();
        for (shard, owner) in owners.iter().enumerate() {
            match owner {
                Some(_) if pinned[shard] => {}
                Some(at) => holders[*at].free.push(shard),
                None => pool.push(shard),
            }
        }
        Self { owners, holders, preferred: preferred(up), pool }
    }

    /// Whoever has more than its share may hold loses its last shards.
    fn keep_what_fits(&mut self) {
        for holder in &mut self.holders {
            let kept = holder.most.saturating_sub(holder.pinned).min(holder.free.len());
            self.pool.extend(holder.free.drain(kept..));
        }
    }

    /// When the pool is too small for those who have too little, some who have one above the least give it.
    fn take_for_the_poor(&mut self) {
        let needed: usize = self.holders.iter().map(|holder| holder.least.saturating_sub(holder.held())).sum();
        let mut short = needed.saturating_sub(self.pool.len());
        for &at in self.preferred.iter().rev() {
            let holder = &mut self.holders[at];
            while short > 0 && holder.held() > holder.least {
                let Some(shard) = holder.free.pop() else { break };
                self.pool.push(shard);
                short -= 1;
            }
        }
        for &shard in &self.pool {
            self.owners[shard] = None;
        }
        self.pool.sort_unstable();
    }

    /// First to those who have too little, then one each to those who may have one more. How many each gets is settled
    /// before which, so that a shard that has arrived already changes nothing for those still on their way.
    fn give(&mut self) {
        let mut left = self.pool.len();
        let mut given = vec![0; self.holders.len()];
        for wanted in [|holder: &Holder| holder.least, |holder: &Holder| holder.most] {
            for &at in &self.preferred {
                let holder = &self.holders[at];
                let more = wanted(holder).saturating_sub(holder.held() + given[at]).min(left);
                given[at] += more;
                left -= more;
            }
        }
        let mut pool = std::mem::take(&mut self.pool).into_iter();
        for &at in &self.preferred {
            for shard in pool.by_ref().take(given[at]) {
                self.owners[shard] = Some(at);
            }
        }
        // Only pins can leave something over: somebody is above its share, and all others are full.
        for (shard, &at) in pool.zip(self.preferred.iter().cycle()) {
            self.owners[shard] = Some(at);
        }
    }
}

fn shares(up: &[&Member], shards: usize) -> Vec<Holder> {
    let total: u128 = up.iter().map(|member| u128::from(member.weight)).sum();
    let share = |member: &&Member| {
        let (weight, total) = if total == 0 { (1, up.len() as u128) } else { (u128::from(member.weight), total) };
        let exact = shards as u128 * weight;
        let least = usize::try_from(exact / total).unwrap_or(shards);
        let most = least + usize::from(!exact.is_multiple_of(total));
        Holder { least, most, pinned: 0, free: Vec::new() }
    };
    up.iter().map(share).collect()
}

/// The first of each zone, then the second of each, and so on, so that no zone gets all that is over; within that the
/// newest release first.
fn preferred(up: &[&Member]) -> Vec<usize> {
    let mut by_release: Vec<usize> = (0..up.len()).collect();
    by_release.sort_by_key(|&at| (Reverse(up[at].release), up[at].id));
    let mut in_zone = BTreeMap::<&str, usize>::new();
    let mut ranked: Vec<(usize, usize)> = Vec::with_capacity(up.len());
    for at in by_release {
        let rank = in_zone.entry(&up[at].zone).or_default();
        ranked.push((*rank, at));
        *rank += 1;
    }
    ranked.sort_by_key(|&(rank, at)| (rank, Reverse(up[at].release), up[at].id));
    ranked.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests;
