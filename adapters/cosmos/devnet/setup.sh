#!/usr/bin/env bash
# Builds wasmd, a real Cosmos chain, into tests/.cache/wasmd (or below $STEWARD_TEST_CACHE) from the Go module registry:
# some 15 minutes of CPU the first time. Safe to run again: it builds when go.sum or this file changed.
set -euo pipefail
cd "$(dirname "$0")"
cache=${STEWARD_TEST_CACHE:-$PWD/../../../tests/.cache}
mkdir -p "$cache/wasmd"
folder=$(cd "$cache/wasmd" && pwd)
say() { printf 'setup: %s\n' "$*" >&2; }

wanted=$(cat go.sum setup.sh | sha256sum)
if [ -x "$folder/wasmd" ] && [ "$wanted" = "$(cat "$folder/built" 2>/dev/null)" ]; then exit 0; fi
rm -f "$folder/built" "$folder/left-out"

# Only where the registry is missing is it left out; whatever else fails is a fault.
if ! go mod download github.com/CosmWasm/wasmd; then
    say "NO GO MODULE REGISTRY: wasmd is left out, and with it every test on a real Cosmos chain"
    touch "$folder/left-out"
    exit 0
fi

say "go: wasmd 0.61.14, which takes a while"
version=github.com/cosmos/cosmos-sdk/version
flags="-checklinkname=0 -s -w -X $version.Name=wasm -X $version.AppName=wasmd -X $version.Version=0.61.14"
CGO_ENABLED=1 go build -mod=readonly -tags netgo -ldflags "$flags -X github.com/CosmWasm/wasmd/app.Bech32Prefix=wasm" \
    -o "$folder/wasmd" github.com/CosmWasm/wasmd/cmd/wasmd >&2
# The binary looks for its library in Go's module cache; here it is found beside it.
library=$(go list -m -f '{{.Dir}}' github.com/CosmWasm/wasmvm/v3)/internal/api/libwasmvm.$(uname -m).so
cp -f "$library" "$folder/" && chmod u+w "$folder/$(basename "$library")"
LD_LIBRARY_PATH=$folder "$folder/wasmd" version >/dev/null
printf '%s' "$wanted" > "$folder/built"
