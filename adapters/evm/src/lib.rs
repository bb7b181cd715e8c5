//! The EVM chain driver on alloy.
