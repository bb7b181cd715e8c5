#!/usr/bin/env bash
# Builds the Solana devnet (a real SVM with JSON-RPC) once and keeps the program in tests/.cache/solana (or below
# $STEWARD_TEST_CACHE). The first time takes a quarter of an hour of CPU. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")"
cache=${STEWARD_TEST_CACHE:-$PWD/../../../tests/.cache}
mkdir -p "$cache/solana"
kept=$(cd "$cache/solana" && pwd)
made_of=$(cat Cargo.toml Cargo.lock src/main.rs | sha256sum)
if [ -x "$kept/steward-solana-devnet" ] && [ "$(cat "$kept/made-of" 2>/dev/null)" = "$made_of" ]; then exit 0; fi
echo "setup: cargo: the Solana devnet" >&2
CARGO_TARGET_DIR=$kept/target cargo build --quiet --locked
mv "$kept/target/debug/steward-solana-devnet" "$kept/"
echo "$made_of" > "$kept/made-of"
# Two gigabytes that nobody needs again.
rm -rf "$kept/target"
