# shellcheck shell=bash
# Sourced by the demo and the benchmark: a broker and a node on loopback, for as long as the script runs.
# Needs $promptd and $model; gives $work, $port and $config.
: "${promptd:?}" "${model:?}"

work=$(mktemp -d)
pids=()
cleanup() {
  # The node first: it says good-bye to its broker.
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start_broker() {
  port=$(free_port)
  cat >"$work/mosquitto.conf" <<CONF
listener $port 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
persistence false
CONF
  "$(command -v mosquitto || echo /usr/sbin/mosquitto)" -c "$work/mosquitto.conf" >"$work/mosquitto.log" 2>&1 &
  pids+=($!)
}

# $1: name of the node. Further lines of configuration come from standard input.
start_node() {
  config=$work/promptd.toml
  cat >"$config" <<CONF
[node]
name = "$1"
[mqtt]
url = "mqtt://127.0.0.1:$port"
[[model]]
name = "main"
files = [{ path = "$model" }]
$(cat)
CONF
  # What systemd would name: the packaged folders are another node's, and need not be writable here.
  mkdir -p "$work/state" "$work/run"
  STATE_DIRECTORY=$work/state RUNTIME_DIRECTORY=$work/run "$promptd" run --config "$config" 2>"$work/promptd.log" &
  pids+=($!)
  for _ in {1..240}; do
    # The retained document says it at once; each call waits a moment for one.
    if mosquitto_sub -h 127.0.0.1 -p "$port" -t "promptd/$1/status" -C 1 -W 1 2>/dev/null | grep -q '"state":"ready"'; then
      return
    fi
    kill -0 "${pids[-1]}" 2>/dev/null || break
    sleep 0.25
  done
  echo "the node did not become ready; its log:" >&2
  cat "$work/promptd.log" >&2
  exit 1
}
