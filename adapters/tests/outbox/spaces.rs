//! Which spaces are searched, and that together they reach all that the outbox can be told. The figures and the tables of
//! steps stand in docs/chains.md, where people read what is checked and what is not.

use std::fmt::Write as _;
use std::thread;

use steward_adapters::ledger::{Ledger, Lost};

use crate::explore::{Bounds, Explored, explore};
use crate::moves::{Carry, Move};
use crate::world::{POLICY, World};

const DOCUMENT: &str = include_str!("../../../docs/chains.md");

/// What seldom happens on every chain. What befalls an effect, and that an intent is withdrawn, comes besides.
const FAULTS: [Move; 5] =
    [Move::Crash, Move::ChangeKey, Move::Reorganize(Lost::Yes), Move::Reorganize(Lost::No), Move::ForgetPool];

/// Searches a chain with sequence numbers, on which a stranger may use the key and the price of a place may rise.
fn counting(world: World, faults: u32, blocks: u64) -> Explored {
    let bounds = Bounds { faults, blocks, now: 2 * POLICY.stuck_ms };
    explore(world, &[&FAULTS[..], &[Move::Stranger, Move::RaisePrice]].concat(), bounds)
}

/// Such a chain, on which a block is final when two stand on it.
fn numbered(intents: u64) -> World {
    World::wishing(Ledger::new(3), intents)
}

/// The same when a transaction waits for a number that a stranger had and a reorganisation made free.
fn with_gap() -> World {
    let mut world = numbered(1);
    let [ask, sign] = [Move::Carry(0, Carry::Whole); 2];
    for step in [Move::Submit(0), Move::Stranger, ask, sign, Move::Reorganize(Lost::Yes)] {
        world.make(step);
    }
    world
}

/// Searches a chain without numbers, on which a transaction can land in the two blocks after it was signed; a block is
/// final when one stands on it.
fn expiring(intents: u64, faults: u32, blocks: u64) -> Explored {
    let world = World::wishing(Ledger::expiring(2, 2), intents).without_waits();
    explore(world, &FAULTS, Bounds { faults, blocks, now: 0 })
}

#[test]
fn no_order_of_faults_lets_two_transactions_of_one_intent_land() {
    type Space = (&'static str, u32, fn() -> Explored);
    let spaces: [Space; 5] = [
        ("sequence numbers, one intent", 2, || counting(numbered(1), 2, 3)),
        ("sequence numbers, two intents", 1, || counting(numbered(2), 1, 3)),
        ("sequence numbers, one intent behind a gap", 1, || counting(with_gap(), 1, 4)),
        ("none, one intent", 2, || expiring(1, 2, 6)),
        ("none, two intents", 1, || expiring(2, 1, 4)),
    ];
    let searched = thread::scope(|scope| {
        let searches = spaces.map(|(name, faults, search)| (name, faults, scope.spawn(search)));
        searches.map(|(name, faults, search)| (name, faults, search.join().unwrap()))
    });
    let (mut all, mut figures) = (Explored::default(), String::new());
    for (name, faults, found) in &searched {
        writeln!(figures, "| {name} | {faults} | {} | {} |", found.states, found.transitions).unwrap();
        all += found;
    }
    writeln!(figures, "| together | | {} | {} |", all.states, all.transitions).unwrap();
    let tables = all.coverage.tables();
    println!("{figures}\n{tables}");
    assert!(all.expired > 0, "some orders let a transaction expire");
    all.coverage.assert_whole();
    for (what, text) in [("the figures", &figures), ("the tables of steps", &tables)] {
        assert!(DOCUMENT.contains(text), "docs/chains.md does not have {what} of now:\n{text}");
    }
}
