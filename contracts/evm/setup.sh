#!/usr/bin/env bash
# Puts what the contracts need (solc, forge, anvil, OpenZeppelin, solhint: pinned by package-lock.json) into
# tests/.cache/contracts (or below $STEWARD_TEST_CACHE), and links node_modules here to it. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")"
cache=${STEWARD_TEST_CACHE:-$PWD/../../tests/.cache}
mkdir -p "$cache/contracts"
packages=$(cd "$cache/contracts" && pwd)
if ! cmp -s package-lock.json "$packages/installed.json"; then
    echo "setup: npm: the contracts' packages" >&2
    cp package.json package-lock.json .npmrc "$packages/"
    (cd "$packages" && npm ci --silent >&2)
    chmod +x "$packages"/node_modules/@foundry-rs/*/bin/*
    cp package-lock.json "$packages/installed.json"
fi
# A folder of a developer's own npm install stays.
[ -d node_modules ] && [ ! -L node_modules ] || ln -sfn "$packages/node_modules" node_modules
