//! The engine on a GPU, beside the same on the processor. Where there is no NVIDIA driver or no card, each test says so
//! and does nothing; where there is one and it cannot be used, it fails.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests panic and print")]

mod gpu {
    mod attention;
    mod card;
    #[path = "../engine/exact.rs"]
    mod exact;
    mod model;
    mod products;
    mod serving;
    mod steps;
    #[path = "../engine/writer.rs"]
    #[expect(dead_code, reason = "the engine's own tests use the rest")]
    mod writer;
}
