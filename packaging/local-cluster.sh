#!/usr/bin/env bash
# usage: local-cluster.sh [STEWARD [FOLDER [STORE]]]   three nodes and their store on this machine, until Ctrl-C.
# STORE is `served` (the default: one is started here) or `fdb:CLUSTER_FILE`. See docs/cluster.md.
# Ports are 7702 for the store and 7711, 7712 and 7713 for the nodes; with STEWARD_FREE_PORTS=1 any that are free.
set -euo pipefail
steward=${1:-target/debug/steward}
folder=${2:-.steward/cluster}
store=${3:-served}
port() { [ "${STEWARD_FREE_PORTS:-}" = 1 ] && echo 0 || echo "$1"; }
processes=()
stop() {
    trap '' INT TERM
    # The nodes hand their shards over before the store goes; each is told by its own id.
    for ((at = ${#processes[@]} - 1; at >= 0; at--)); do
        kill -TERM "${processes[at]}" 2>/dev/null && wait "${processes[at]}" || true
    done
}
trap stop EXIT
# Without these a signal would end the shell and leave what it started.
trap 'exit 130' INT
trap 'exit 143' TERM

# A process group for each, so that Ctrl-C reaches this script alone, and it can end them in their order.
begin() { # FOLDER COMMAND…
    local log="$folder/$1/log"
    shift
    set -m
    "$@" >"$log" 2>&1 &
    processes+=($!)
    set +m
}

[ -d "$folder/authority" ] || "$steward" cluster init "$folder/authority"
for name in store node-1 node-2 node-3; do
    [ -d "$folder/$name/identity" ] || "$steward" cluster issue "$folder/authority" "$folder/$name/identity"
    mkdir -p "$folder/$name/data"
    rm -f "$folder/$name/data/ready.json"
done

ready() { # FOLDER PROCESS: waits until the process says that it is ready, at most a minute
    for _ in $(seq 600); do
        [ -s "$folder/$1/data/ready.json" ] && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    echo "$1 did not get ready; its log is $folder/$1/log" >&2
    return 1
}

server() { # FOLDER: where its process listens
    sed -E 's/.*"server":"([^"]*)".*/\1/' "$folder/$1/data/ready.json"
}

case $store in
served)
    begin store "$steward" store serve "$folder/store/data" --identity "$folder/store/identity" \
        --listen "127.0.0.1:$(port 7702)"
    ready store "${processes[0]}"
    options=(--store "$(server store)")
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
    begin "node-$number" "$steward" up "${options[@]}" --data "$folder/node-$number/data" \
        --listen "127.0.0.1:$(port "771$number")" --join "$folder/node-$number/identity"
done
nodes=("${processes[@]: -3}")
for number in 1 2 3; do ready "node-$number" "${nodes[number - 1]}"; done
echo "three nodes: $(server node-1) $(server node-2) $(server node-3); logs in $folder"
echo "export STEWARD_SERVER=$(server node-1) STEWARD_KEY=\$(cat $folder/node-1/data/root.key)"
echo "Ctrl-C stops them"
# A node that ends by itself ends all.
wait -n
