#!/usr/bin/env bash
# usage: local-cluster.sh [STEWARD [FOLDER [STORE]]]   three nodes and their store on this machine, until Ctrl-C.
# STORE is `served` (the default: one is started here) or `fdb:CLUSTER_FILE`. See docs/cluster.md.
set -euo pipefail
steward=${1:-target/debug/steward}
folder=${2:-.steward/cluster}
store=${3:-served}
processes=()
stop() {
    # The nodes hand their shards over before the store goes; each is told by its own id.
    for ((at = ${#processes[@]} - 1; at >= 0; at--)); do
        kill -TERM "${processes[at]}" 2>/dev/null && wait "${processes[at]}" || true
    done
}
trap stop EXIT

[ -d "$folder/authority" ] || "$steward" cluster init "$folder/authority"
for name in store node-1 node-2 node-3; do
    [ -d "$folder/$name/identity" ] || "$steward" cluster issue "$folder/authority" "$folder/$name/identity"
    mkdir -p "$folder/$name/data"
    rm -f "$folder/$name/data/ready.json"
done

ready() { # waits until the process of a folder says that it is ready, at most a minute
    for _ in $(seq 600); do
        [ -s "$folder/$1/data/ready.json" ] && return
        sleep 0.1
    done
    echo "$1 did not get ready; its log is $folder/$1/log" >&2
    return 1
}

case $store in
served)
    "$steward" store serve "$folder/store/data" --identity "$folder/store/identity" --listen 127.0.0.1:7702 \
        >"$folder/store/log" 2>&1 &
    processes+=($!)
    ready store
    options=(--store served:127.0.0.1:7702)
    ;;
fdb:?*)
    # A name of this folder's own, so that a new folder never meets the state of an old one.
    [ -s "$folder/name" ] || echo "local-cluster/$(date +%s%N)" >"$folder/name"
    printf 'store = "%s"\n[foundationdb]\nname = "%s"\n' "$store" "$(cat "$folder/name")" >"$folder/node.toml"
    options=(--config "$folder/node.toml")
    ;;
*)
    echo "store $store is neither served nor fdb:CLUSTER_FILE" >&2
    exit 2
    ;;
esac
for number in 1 2 3; do
    "$steward" up "${options[@]}" --data "$folder/node-$number/data" --listen "127.0.0.1:771$number" \
        --join "$folder/node-$number/identity" >"$folder/node-$number/log" 2>&1 &
    processes+=($!)
done
for number in 1 2 3; do ready "node-$number"; done
echo "three nodes: http://127.0.0.1:7711, :7712, :7713; logs in $folder"
echo "steward login --server http://127.0.0.1:7711 --key \$(cat $folder/node-1/data/root.key)"
echo "Ctrl-C stops them"
wait
