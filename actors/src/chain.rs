//! Chains: each anchors the roots of receipt logs, and sends what sessions order, through a durable outbox, once each,
//! whatever is killed when.
//!
//! One entity a chain, named by the chain's CAIP-2 identifier, owns its account. It stores the outbox before each
//! effect that the outbox allows. A chain that is down delays anchoring behind its breaker and nothing else.

mod anchoring;
mod deploying;
mod desk;
mod drive;
mod entity;
mod followed;
pub(crate) mod forced;
mod gauges;
mod intents;
mod messages;
mod ordering;
pub(crate) mod orders;
mod paused;
mod records;
mod settings;
pub(crate) mod spending;
mod status;
mod wallet;
mod wishes;

pub use anchoring::ChainAnchoring;
pub use deploying::{Deployed, Deployment};
pub use entity::ChainActor;
pub use forced::ForcedBreaker;
pub use gauges::OutboxGauge;
pub use intents::{IntentState, IntentView, OutboxView};
pub use messages::{ChainEvent, ChainRequest, ChainResponse, PendingAnchor};
pub use orders::{OrderId, OrderIdError, OrderOutcome, OrderRecord};
pub use records::AnchorWish;
pub use settings::{ChainEnvironment, ChainSettings, Chains, Follow};
pub use spending::{FeePrice, RuleProblem, SpendingTerms, canonical_terms};
pub use status::ChainStatus;
pub use wallet::WalletView;

#[cfg(test)]
mod tests;
