#!/usr/bin/env bash
# The whole check: set-up, format, clippy with warnings denied, the contracts, every test. Leaves no process behind.
# The last line is the test runner's summary; above it stands what was left out, and why.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

cache=${STEWARD_TEST_CACHE:-$PWD/tests/.cache}
tests/setup.sh
export STEWARD_TEST_CACHE=$cache
export STEWARD_MODELS=$cache/models
export STEWARD_ANVIL=$cache/contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil
export STEWARD_SOLANA_DEVNET=$cache/solana/steward-solana-devnet
export STEWARD_WASMD=$cache/wasmd/wasmd

echo "== format" && cargo fmt --all --check
# The fuzz targets have a lock file of their own, which a change of a manifest leaves behind.
cargo metadata --quiet --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null
echo "== clippy" && cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
echo "== contracts" && bash contracts/evm/run-tests.sh
echo "== tests"
# The binaries with the tests in one go, so that dependencies are built once; tests that kill real processes start them.
cargo build --quiet --locked --workspace --bins --tests --examples
# What this machine cannot run is said at the end, so that nobody takes it for tested.
left_out() {
    [ -n "${FDB_SERVER:-}" ] || echo "left out: FoundationDB (conformance, kills, chaos, three nodes): FDB_SERVER is not set"
    [ -n "${FDB_CLUSTER_FILE:-}" ] || echo "left out: FoundationDB's conformance on a cluster of yours: FDB_CLUSTER_FILE is not set"
    [ ! -e "$cache/wasmd/left-out" ] || echo "left out: Cosmos on a real wasmd: there was no Go module registry to build it from"
    [ ! -e "$cache/slither/left-out" ] || echo "left out: the contracts' static analysis: there was no Python package registry to install slither from"
    command -v systemd-analyze >/dev/null || echo "left out: systemd's own check of the units: there is no systemd-analyze here"
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
if command -v cargo-nextest >/dev/null; then
    cargo nextest run --workspace --locked 2>&1 | tee "$log" || status=$?
    cargo test --workspace --locked --doc || status=$?
    echo && left_out
    grep -E '^ *Summary \[' "$log" | tail -1
else
    # Summed up at the end, since cargo prints one summary for each binary.
    cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?
    echo && left_out
    awk '/^test result:/ { gsub(";", ""); passed += $4; failed += $6; ignored += $8 }
         END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
fi
exit "$status"
