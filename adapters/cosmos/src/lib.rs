//! The Cosmos chain driver on cosmrs: anchors receipt logs as memos of payments to oneself.
//!
//! It keeps no sequence number of its own; the outbox owns them.

mod anchors;
pub mod chain;
pub mod devnet;
mod events;
mod fate;
pub mod node;
pub mod price;
pub mod rpc;
pub mod signer;
mod transaction;

pub use anchors::verify_anchored;
pub use chain::{CosmosChain, CosmosConfig};
pub use devnet::{Pace, Wasmd, WasmdError};
pub use node::identify;
pub use price::{GasPrice, GasPriceError};
pub use signer::{LocalSigner, address_of};
