//! The committed artifact is what the contract's source compiles to.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_committed_artifact_is_what_solc_makes_of_the_source() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies two folders deep");
    let named = std::env::var_os("STEWARD_NODE_MODULES").map(PathBuf::from);
    let modules = named.unwrap_or_else(|| workspace.join("tests/.cache/node_modules"));
    let hint = "run tests/setup.sh, or name a folder with solc in STEWARD_NODE_MODULES";
    assert!(modules.join("solc").is_dir(), "solc is not in {}: {hint}", modules.display());
    let script = workspace.join("contracts/evm/compile.mjs");
    let mut node = Command::new("node");
    let output = node.arg(script).arg("--check").env("SOLC_MODULES", modules).output().expect("node is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
