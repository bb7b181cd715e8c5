#!/usr/bin/env bash
# Builds the Agave validator once and keeps the program in tests/.cache/agave (or below $STEWARD_TEST_CACHE). The first time
# takes most of an hour of CPU and some gigabytes, so nothing but run-tests.sh asks for it. Needs the Debian packages
# libudev-dev, protobuf-compiler, clang, libclang-dev and pkg-config. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")"
source ../kept.sh
if kept agave steward-agave-devnet; then exit 0; fi
for needed in protoc:protobuf-compiler clang:clang pkg-config:pkg-config; do
    command -v "${needed%%:*}" >/dev/null && continue
    echo "setup: ${needed%%:*} is missing: install the Debian package ${needed##*:} and run this again" >&2; exit 1
done
pkg-config --exists libudev || { echo "setup: libudev is missing: install the Debian package libudev-dev and run this again" >&2; exit 1; }
echo "setup: cargo: the Agave validator" >&2
build_kept --release
