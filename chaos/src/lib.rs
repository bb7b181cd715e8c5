//! Nemesis, workloads, checkers and report: what proves the promise by killing.
