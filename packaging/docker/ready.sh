#!/bin/bash
# usage: ready.sh [PORT]   succeeds when the node on this machine is ready (plain HTTP; with TLS probe from outside).
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/${1:-7700}"
printf 'GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n' >&3
read -r _ status _ <&3
[ "$status" = 200 ]
