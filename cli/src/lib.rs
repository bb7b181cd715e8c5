//! The steward binary: a node, the commands, and the demo.
