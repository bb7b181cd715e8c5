#!/usr/bin/env bash
# Runs the Solana driver's tests, and nodes that pay and anchor on Solana through kills, on an Agave validator. Its RPC
# listens on every interface, so all of it runs in a network namespace in which the loopback is the only one.
#
#   run-tests.sh [FILTER...]    the tests whose names contain a FILTER, of both test binaries
set -euo pipefail
cd "$(dirname "$0")/../../.."
cache=${STEWARD_TEST_CACHE:-$PWD/tests/.cache}
bash adapters/solana/agave/setup.sh
cargo test --workspace --no-run --quiet --locked
export STEWARD_SOLANA_DEVNET=$cache/agave/steward-agave-devnet
exec unshare --user --map-root-user --net bash -c '
    ip link set lo up
    cargo test --workspace --locked --offline --test svm -- --test-threads 1 "$@"
    cargo test --workspace --locked --offline --test end_to_end -- --test-threads 1 "${@:-solana}"
' run-tests "$@"
