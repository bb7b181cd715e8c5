#!/usr/bin/env bash
# Builds the Solana devnet (a real SVM with JSON-RPC) once and keeps the program in tests/.cache/solana (or below
# $STEWARD_TEST_CACHE). The first time takes a quarter of an hour of CPU. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")"
source ../kept.sh
if kept solana steward-solana-devnet; then exit 0; fi
echo "setup: cargo: the Solana devnet" >&2
build_kept
