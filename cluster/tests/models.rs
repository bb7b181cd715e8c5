//! Models on several nodes of one process: placed, routed to, moved and lost.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod models {
    pub mod placing;
    pub mod routing;
    pub mod scale;
    pub mod seat;
    pub mod world;
}
