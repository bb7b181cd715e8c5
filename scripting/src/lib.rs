//! The Rhai host: limits, upload checks, and deterministic replay from a journal.
