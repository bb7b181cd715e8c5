//! What a run found, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::nemesis::{Fault, Faults, Tally};
use crate::registers::Checked;

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
    /// Transactions that anchored them: as many.
    pub anchor_transactions: u64,
    /// What was done to append-only registers, and whether their histories are linearizable.
    pub registers: Checked,
    /// After the last fault an entity of every shard was asked: how long the slowest took to answer.
    pub shards_answered: Option<Duration>,
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

    /// How often a kind of fault fired.
    pub fn fired(&self, fault: Fault) -> Tally {
        self.faults.kinds.get(&fault).copied().unwrap_or_default()
    }

    fn write_faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults { done, hit, kinds, withheld_bytes, connections_reset, .. } = &self.faults;
        writeln!(f, "{done} faults, {hit} of them with turns in flight, in {} s", self.seconds)?;
        if kinds.len() > 1 {
            let kinds = kinds.iter().map(|(kind, Tally { done, felt })| format!("{kind:?} {done} ({felt} felt)"));
            writeln!(f, "{}", kinds.collect::<Vec<_>>().join(", "))?;
            writeln!(f, "{withheld_bytes} bytes held back, {connections_reset} connections reset")?;
        }
        Ok(())
    }

    fn write_healing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut healed: Vec<Duration> = self.faults.healed.iter().map(|healed| healed.took).collect();
        healed.sort_unstable();
        if let (Some(middle), Some(longest)) = (healed.get(healed.len() / 2), healed.last()) {
            let (rounds, middle, longest) = (healed.len(), middle.as_secs_f64(), longest.as_secs_f64());
            writeln!(
                f,
                "after each of {rounds} rounds every session and register went on: within {middle:.1} s in the middle, \
                 {longest:.1} s at most"
            )?;
        }
        if let Some(shards) = self.shards_answered {
            writeln!(f, "then an entity of every shard answered, the slowest after {:.1} s", shards.as_secs_f64())?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_faults(f)?;
        self.write_healing(f)?;
        writeln!(f, "{} sessions, {} turns, {} events", self.sessions, self.turns, self.events)?;
        let (asked, done, unknown) = (self.effects_asked, self.effects_done, self.effects_unknown);
        writeln!(f, "{done} idempotent effects, asked for {asked} times; {unknown} others reported as unknown")?;
        writeln!(
            f,
            "{} receipts, {} micro-units, {} roots anchored in {} transactions",
            self.receipts, self.settled_micros, self.anchors, self.anchor_transactions
        )?;
        let Checked { registers, appends, unknown, reads, violations } = &self.registers;
        if *registers > 0 {
            let linearizable = registers - violations.len().min(*registers);
            writeln!(
                f,
                "{linearizable} of {registers} registers linearizable: {appends} appends, {unknown} of unknown outcome, \
                 {reads} reads"
            )?;
        }
        for finding in &self.findings {
            writeln!(f, "BROKEN: {finding}")?;
        }
        write!(f, "{}", if self.is_good() { "every promise held" } else { "promises were broken" })
    }
}
