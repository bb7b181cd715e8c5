//! What a run found, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::nemesis::Faults;

/// A run's result.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What the nemesis did.
    pub faults: Faults,
    /// Sessions that worked.
    pub sessions: usize,
    /// Turns that ended well.
    pub turns: usize,
    /// Events that watchers saw, each once.
    pub events: u64,
    /// Idempotent effects asked for, repeats after a crash included.
    pub effects_asked: u64,
    /// Idempotent effects that are different.
    pub effects_done: usize,
    /// Effects whose outcome a crash made unknown, and whose script was told so.
    pub effects_unknown: usize,
    /// Receipts.
    pub receipts: usize,
    /// What all steps cost, in micro-units.
    pub settled_micros: u64,
    /// Roots anchored on the chain.
    pub anchors: usize,
    /// How long it took, in seconds.
    pub seconds: u64,
    /// Broken promises; none is what we want.
    pub findings: Vec<String>,
}

impl Report {
    /// Whether every promise held, and the kills hit work in flight.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults { done, hit, kills, pauses, store_kills, store_pauses, drains } = self.faults;
        writeln!(f, "{done} faults, {hit} of them with turns in flight, in {} s", self.seconds)?;
        if kills != done {
            writeln!(
                f,
                "{kills} nodes killed, {pauses} paused, {drains} drained; the store killed {store_kills} times, paused \
                 {store_pauses}"
            )?;
        }
        writeln!(f, "{} sessions, {} turns, {} events", self.sessions, self.turns, self.events)?;
        let (asked, done, unknown) = (self.effects_asked, self.effects_done, self.effects_unknown);
        writeln!(f, "{done} idempotent effects, asked for {asked} times; {unknown} others reported as unknown")?;
        writeln!(
            f,
            "{} receipts, {} micro-units, {} roots anchored",
            self.receipts, self.settled_micros, self.anchors
        )?;
        for finding in &self.findings {
            writeln!(f, "BROKEN: {finding}")?;
        }
        write!(f, "{}", if self.is_good() { "every promise held" } else { "promises were broken" })
    }
}
