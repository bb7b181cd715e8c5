//! Where the tests find the programs and files that `tests/setup.sh` has fetched.

use std::path::{Path, PathBuf};

/// The `steward` binary: built beside this one.
pub fn steward() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let binary = tests.ancestors().nth(2).unwrap().join("steward");
    assert!(binary.exists(), "{} is missing: cargo build -p steward", binary.display());
    binary
}

/// The NVIDIA driver whose card breaks: built beside the tests.
pub fn breaking_driver() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let library = tests.ancestors().nth(2).unwrap().join("examples/libbreaking_driver.so");
    assert!(library.exists(), "{} is missing: cargo build --workspace --examples", library.display());
    library
}

/// What `tests/setup.sh` keeps, by its path there.
pub fn cached(path: &str) -> PathBuf {
    let cache = std::env::var_os("STEWARD_TEST_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"));
    let found = cache.join(path);
    assert!(found.exists(), "{} is missing: run tests/setup.sh", found.display());
    found
}

/// A file of `tests/clients`.
pub fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// A program on the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A real EVM chain.
pub fn anvil() -> PathBuf {
    cached("contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
}

/// A real Solana cluster.
pub fn solana_devnet() -> PathBuf {
    cached("solana/steward-solana-devnet")
}

/// A real Cosmos chain; nothing where there was no Go module registry to build it from.
pub fn wasmd() -> Option<PathBuf> {
    let cache = std::env::var_os("STEWARD_TEST_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"));
    if cache.join("wasmd/left-out").exists() { None } else { Some(cached("wasmd/wasmd")) }
}

/// How often something is killed: so often by default, otherwise as often as `STEWARD_KILLS` says.
pub fn kills(default: u32) -> u32 {
    std::env::var("STEWARD_KILLS").map_or(default, |kills| kills.parse().unwrap())
}
