#!/usr/bin/env bash
# The contracts' whole check: build, unit, fuzz and invariant tests, gas snapshot, gas on anvil, lint, static analysis,
# fresh artifacts.
# Part of tests/run.sh. `run-tests.sh --update` writes the artifacts and the gas snapshot anew; anything else is
# handed to forge: `run-tests.sh test --match-contract Escrow -vvvv`.
set -euo pipefail
cd "$(dirname "$0")"
bash setup.sh
export FOUNDRY_SOLC=$PWD/solc.mjs FOUNDRY_DISABLE_NIGHTLY_WARNING=1
forge() { node_modules/@foundry-rs/forge-linux-amd64/bin/forge "$@"; }
snapshot=(snapshot --match-contract GasTest --snap gas-snapshot.txt)

if [ "${1:-}" = --update ]; then
    node compile.mjs
    forge "${snapshot[@]}"
    exit
fi
if [ $# -gt 0 ]; then
    forge "$@"
    exit
fi
forge fmt --check
forge test
forge "${snapshot[@]}" --check gas-snapshot.txt
node compile.mjs --check
node bench.mjs --check
node_modules/.bin/solhint --disc --noPoster --max-warnings 0 'src/**/*.sol'
bash slither.sh
