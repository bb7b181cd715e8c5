//! What the chains' drivers are tested with: endpoints that break in every way, and an outbox that is killed between any
//! two steps. For tests only; nothing of it goes into the binary.

pub mod endless;
mod falsehood;
pub mod fault;
pub mod memo;
pub mod pooled;
pub mod proxy;
pub mod recovery;
pub mod sender;
pub mod trial;

pub use endless::check_endless;
pub use falsehood::Dialect;
pub use fault::Fault;
pub use memo::{memo_anchor, memo_point};
pub use pooled::{pooled, quick};
pub use proxy::{Proxy, Rules};
pub use recovery::{Recovery, recover};
pub use sender::Sender;
pub use trial::{Trial, Work, intents};
