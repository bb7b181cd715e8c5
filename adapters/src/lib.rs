//! Chain, Signer, outbox, circuit breaker and tool ports, each as pure state machines and object-safe traits.

pub mod breaker;
pub mod chain;
pub mod conformance;
pub mod courier;
pub mod cursor;
pub mod endpoint;
pub mod fee;
pub mod http;
pub mod inclusion;
pub mod ledger;
pub mod memo;
pub mod memory;
pub mod outbox;
pub mod pool;
pub mod signer;

pub use breaker::{Admission, Breaker, BreakerPolicy, BreakerState, Forced};
pub use chain::{Action, Amount, AnchorPoint, AnchoredHead, Chain, ChainError, ChainId, Head, InclusionClaim};
pub use endpoint::{EndpointPolicy, EndpointStatus};
pub use fee::{Fee, FeePolicy, MarketFee};
pub use http::{AllowList, HttpFailure, HttpOutcome, HttpRequest, HttpResponse, HttpTool, NoHttp};
pub use outbox::{Effect, Event, Outbox, OutboxHead, OutboxPolicy};
pub use pool::{Pool, PoolError, PoolPolicy};
pub use signer::{SecretKey, Signer, SignerError, SignerKind};
