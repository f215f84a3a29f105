#!/usr/bin/env bash
# The main job on one machine: a broker and a node on loopback, one question, its answer as it is made. $1: promptd, $2: model.
set -euo pipefail
promptd=$1 model=$2
source "$(dirname "$0")/node.sh"

question="What is the capital of France? Answer in one sentence."
echo "starting a broker and a node with $(basename "$model")"
start_broker
start_node demo </dev/null
echo "asking over MQTT: $question"
echo
"$promptd" ask --config "$config" --max-tokens 64 "$question"
echo
echo "what a device would do:"
echo "  mosquitto_rr -V mqttv5 -h 127.0.0.1 -p $port -t promptd/demo/request/generate/sensor1 -e promptd/demo/response/sensor1/r1 -m 'Say hello.'"
mosquitto_rr -V mqttv5 -h 127.0.0.1 -p "$port" -t promptd/demo/request/generate/sensor1 \
  -e promptd/demo/response/sensor1/r1 -m 'Say hello.' -W 60
