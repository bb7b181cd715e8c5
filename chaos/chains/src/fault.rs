//! What goes wrong between a driver and its endpoint.

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The connection is closed before the call arrives.
    Dropped,
    /// The call is held back.
    Delayed,
    /// HTTP 429 with an error of JSON-RPC, without a word on when to come back.
    Throttled,
    /// HTTP 429 with an error of JSON-RPC and Retry-After.
    ThrottledFor,
    /// HTTP 503.
    Failed,
    /// The answer ends in its middle.
    Truncated,
    /// The answer is JSON of another shape.
    Garbled,
    /// The answer is of some blocks ago.
    Behind,
    /// The answer is false, and transactions are thrown away.
    Lies,
    /// The call arrives, and the connection is closed before the answer.
    ReplyLost,
    /// The call arrives twice.
    Twice,
    /// The call arrives, and is answered with the answer to the call before it.
    Repeated,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 12] = [
        Self::Dropped,
        Self::Delayed,
        Self::Throttled,
        Self::ThrottledFor,
        Self::Failed,
        Self::Truncated,
        Self::Garbled,
        Self::Behind,
        Self::Lies,
        Self::ReplyLost,
        Self::Twice,
        Self::Repeated,
    ];

    /// Every fault but lies: what an honest endpoint may do.
    pub fn honest() -> Vec<Self> {
        Self::ALL.into_iter().filter(|fault| *fault != Self::Lies).collect()
    }
}
