//! The embedded store: one process, one disk, group commit.
