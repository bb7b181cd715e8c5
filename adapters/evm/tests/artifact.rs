//! The committed artifacts are what the contracts' sources compile to.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_committed_artifacts_are_what_solc_makes_of_the_sources() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies two folders deep");
    let named = std::env::var_os("STEWARD_TEST_CACHE").map(PathBuf::from);
    let cache = named.unwrap_or_else(|| workspace.join("tests/.cache"));
    let modules = cache.join("contracts/node_modules");
    let hint = "run tests/setup.sh, or name its folder in STEWARD_TEST_CACHE";
    assert!(modules.join("solc").is_dir(), "solc is not in {}: {hint}", modules.display());
    let script = workspace.join("contracts/evm/compile.mjs");
    let mut node = Command::new("node");
    let output = node.arg(script).arg("--check").env("SOLC_MODULES", modules).output().expect("node is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
