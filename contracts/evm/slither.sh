#!/usr/bin/env bash
# Static analysis of the contracts with slither (PyPI, pinned by slither-requirements.txt), in tests/.cache/slither (or below
# $STEWARD_TEST_CACHE). Part of run-tests.sh. Fails on any finding; those that are looked at and meant are marked in the
# sources with their reason. `timestamp` is left out as a whole: every comparison with the clock here is about hours or
# days, of which a block's maker can shift seconds. What was analyzed and had no finding is not analyzed again.
#   slither.sh           analyzes
#   slither.sh --setup   only installs it
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p "${STEWARD_TEST_CACHE:-../../tests/.cache}/slither"
cache=$(cd "${STEWARD_TEST_CACHE:-../../tests/.cache}/slither" && pwd)
say() { printf '%s\n' "$*" >&2; }

install() {
    [ ! -x "$cache/venv/bin/slither" ] || ! cmp -s slither-requirements.txt "$cache/installed.txt" || return 0
    rm -rf "$cache/venv" "$cache/installed.txt" "$cache/left-out"
    python3 -m venv "$cache/venv"
    pip() { "$cache/venv/bin/python" -m pip "$@" --quiet --disable-pip-version-check >&2; }
    # Only where the registry is missing is it left out; whatever else fails is a fault.
    if ! pip download --no-deps -d "$cache/wheels" "$(grep '^slither-analyzer==' slither-requirements.txt)"; then
        say "setup: NO PYTHON PACKAGE REGISTRY: slither is left out, and with it the contracts' static analysis"
        touch "$cache/left-out"
        return 0
    fi
    say "setup: pip: slither"
    pip install --find-links "$cache/wheels" -r slither-requirements.txt
    cp slither-requirements.txt "$cache/installed.txt"
}

install
[ "${1:-}" != --setup ] || exit 0
if [ -e "$cache/left-out" ]; then
    say "LEFT OUT: slither, for there was no Python package registry to install it from"
    exit 0
fi
bash setup.sh
analyzed=$(cat src/*.sol slither.sh slither.config.json slither-requirements.txt foundry.toml package-lock.json | sha256sum)
if [ "$analyzed" = "$(cat "$cache/analyzed" 2>/dev/null)" ]; then
    say "slither: nothing was found, and nothing has changed since"
    exit 0
fi
# It cleans what it builds: in folders of its own, so that the tests' build stays.
export FOUNDRY_OUT=node_modules/.forge/slither-out FOUNDRY_CACHE_PATH=node_modules/.forge/slither-cache
export FOUNDRY_SOLC=$PWD/solc.mjs PATH=$PWD/node_modules/@foundry-rs/forge-linux-amd64/bin:$cache/venv/bin:$PATH
slither .
printf '%s' "$analyzed" > "$cache/analyzed"
