#!/usr/bin/env bash
# usage: identities.sh AUTHORITY RELEASE NODES > secret.yaml
# Issues what is missing beside the authority's folder and writes the Secret that the chart's identities.secret names.
# Keep secret.yaml out of version control; apply it with `kubectl apply -f`.
set -euo pipefail
authority=$1 release=$2 nodes=$3
steward=${STEWARD:-steward}
folder=$(dirname "$authority")/identities
encode() { base64 <"$1" | tr -d '\n'; }
names=(store)
for ((number = 0; number < nodes; number++)); do names+=("$release-$number"); done
for name in "${names[@]}"; do
    [ -d "$folder/$name" ] || "$steward" cluster issue "$authority" "$folder/$name" >&2
done
printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s-identities\ntype: Opaque\ndata:\n' "$release"
for file in ca.pem log.key root.key; do printf '  %s: %s\n' "$file" "$(encode "$folder/store/$file")"; done
for name in "${names[@]}"; do
    for file in node.pem node.key; do printf '  %s.%s: %s\n' "$name" "$file" "$(encode "$folder/$name/$file")"; done
done
