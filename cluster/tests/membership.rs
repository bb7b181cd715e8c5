//! Several nodes in one process on one in-memory store, with a clock that the test drives.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod membership {
    pub mod faults;
    pub mod histories;
    pub mod leaving;
    pub mod sharing;
    pub mod world;
}
