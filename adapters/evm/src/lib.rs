//! The EVM chain driver on alloy: anchors receipt logs in the `ReceiptLog` contract.
//!
//! It keeps no nonce of its own (alloy's cached ones drift after a crash); the outbox owns the sequence numbers.

mod artifact;
pub mod chain;
pub mod contract;
pub mod devnet;
pub mod signer;
mod transport;

pub use chain::{EvmChain, EvmConfig, Finality};
pub use devnet::{Anvil, AnvilError, Mining};
pub use signer::{LocalSigner, address_of};
