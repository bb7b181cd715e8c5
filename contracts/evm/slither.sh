#!/usr/bin/env bash
# Static analysis of the contracts with slither (PyPI), in tests/.cache/slither. Fails on any finding; those that are
# looked at and meant are marked in the sources with their reason. `timestamp` is left out as a whole: every comparison
# with the clock here is about hours or days, of which a block's maker can shift seconds.
set -euo pipefail
cd "$(dirname "$0")"
bash setup.sh
cache=$(cd "${STEWARD_TEST_CACHE:-../../tests/.cache}" && pwd)
venv=$cache/slither
if ! "$venv/bin/slither" --version 2>/dev/null | grep -qx 0.11.6; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check slither-analyzer==0.11.6 >&2
fi
export FOUNDRY_SOLC=$PWD/solc.mjs PATH=$PWD/node_modules/@foundry-rs/forge-linux-amd64/bin:$venv/bin:$PATH
exec slither .
