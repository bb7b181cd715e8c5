#!/usr/bin/env bash
# The whole check: set-up, format, clippy with warnings denied, the contracts, every test. Leaves no process behind.
# The last lines are the test runner's summary.
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
echo "== clippy" && cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
echo "== contracts" && bash contracts/evm/run-tests.sh
echo "== tests"
# The binaries with the tests in one go, so that dependencies are built once; tests that kill real processes start them.
cargo build --quiet --locked --workspace --bins --tests
if command -v cargo-nextest >/dev/null; then
    cargo nextest run --workspace --locked
    cargo test --workspace --locked --doc
else
    # Summed up at the end, since cargo prints one summary for each binary.
    log=$(mktemp)
    status=0
    cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?
    awk '/^test result:/ { gsub(";", ""); passed += $4; failed += $6; ignored += $8 }
         END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
    rm -f "$log"
    exit "$status"
fi
