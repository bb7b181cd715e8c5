//! The exhaustive search: every order of moves within bounds, each state looked at once.

use std::collections::HashSet;
use std::ops::AddAssign;

use crate::coverage::Coverage;
use crate::moves::Move;
use crate::world::World;

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many of the things may happen that seldom do.
    pub faults: u32,
    /// The newest block.
    pub blocks: u64,
    /// The latest time.
    pub now: u64,
}

/// What a search found.
#[derive(Debug, Clone, Default)]
pub struct Explored {
    /// The states that differ.
    pub states: usize,
    /// The moves from one of them to another, or to itself.
    pub transitions: usize,
    /// The states in which everything has ended.
    pub ends: usize,
    /// Those of them in which a transaction had expired.
    pub expired: usize,
    /// What the outbox was told in which state, and what came of it.
    pub coverage: Coverage,
}

impl AddAssign<&Self> for Explored {
    fn add_assign(&mut self, other: &Self) {
        self.states += other.states;
        self.transitions += other.transitions;
        self.ends += other.ends;
        self.expired += other.expired;
        self.coverage.add(&other.coverage);
    }
}

/// Tries every order of these faults, and of what happens in every world, within the bounds. Every state must be good.
/// Those of fewer faults come first, so that a state counts once, however many faults could lead to it.
pub fn explore(first: World, faults: &[Move], bounds: Bounds) -> Explored {
    let mut found = Explored::default();
    let mut seen = HashSet::new();
    let mut levels = vec![Vec::new(); bounds.faults as usize + 1];
    levels[0].push(first);
    let mut waiting = vec![HashSet::new(); levels.len()];
    for level in 0..levels.len() {
        while let Some(world) = levels[level].pop() {
            if !seen.insert(world.key()) {
                continue;
            }
            world.check();
            found.states += 1;
            if world.is_over() {
                found.ends += 1;
                found.expired += usize::from(world.has_expired);
                continue;
            }
            for step in world.moves(faults, level + 1 < levels.len()) {
                let mut next = world.clone();
                next.make(step);
                if next.ledger.head().block > bounds.blocks || next.now > bounds.now {
                    continue;
                }
                found.transitions += 1;
                found.coverage.add(&std::mem::take(&mut next.covered));
                let (key, then) = (next.key(), level + usize::from(step.is_fault()));
                // What waits already would only take memory a second time.
                if !seen.contains(&key) && waiting[then].insert(key) {
                    levels[then].push(next);
                }
            }
        }
    }
    assert!(found.ends > 0, "some orders came to their end within the bounds");
    found
}
