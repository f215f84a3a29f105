#!/usr/bin/env bash
# The tasks of a node with a model for each of them, over a broker on loopback. $1: promptd, $2: model, $3: the folder of the encoders.
set -euo pipefail
promptd=$1 model=$2 encoders=$3
source "$(dirname "$0")/node.sh"

start_broker
start_node bench <<CONF
default = true
[[model]]
name = "embedder"
files = [{ path = "$encoders/all-MiniLM-L6-v2.F16.gguf" }]
[[model]]
name = "sentiment"
files = [{ path = "$encoders/all-MiniLM-L6-v2.sentiment.F16.gguf" }]
[[model]]
name = "finder"
files = [{ path = "$encoders/rampart.F16.gguf" }]
CONF
"$promptd" bench --mqtt --tasks --config "$config"
