//! The committed code is what the `.proto` files generate.

#[path = "../examples/generate.rs"]
mod generate;

use std::path::Path;

#[test]
fn the_generated_code_is_fresh() {
    let fresh = tempfile::tempdir().unwrap();
    generate::generate(fresh.path()).unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proto");
    for name in ["steward.v1.rs", "google.rpc.rs", "descriptors.bin"] {
        let same = std::fs::read(fresh.path().join(name)).unwrap() == std::fs::read(committed.join(name)).unwrap();
        assert!(same, "{name} is stale: run `cargo run -p steward-api --example generate`");
    }
}
