#!/usr/bin/env bash
# The engine by itself, then a node over a broker on loopback. $1: promptd, $2: model.
set -euo pipefail
promptd=$1 model=$2
source "$(dirname "$0")/node.sh"

"$promptd" bench --model "$model"
start_broker
start_node bench </dev/null
"$promptd" bench --mqtt --config "$config"
