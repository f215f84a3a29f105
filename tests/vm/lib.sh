# shellcheck shell=bash
# In the guest, for every test. No `set -e` in conditions: whatever must hold says `|| fail`.

topics=promptd/gateway

step() { printf '\n-- %s (up %s s)\n' "$*" "$(cut -d. -f1 /proc/uptime)"; }

fail() {
  echo "FAILED: $*"
  systemctl status --no-pager --full promptd || true
  journalctl --no-pager --lines 40 --unit promptd || true
  exit 1
}

# until_true SECONDS COMMAND…: waits until the command succeeds.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "not within the time: $*"; return 1; }
    sleep 0.2
  done
}

# A device is another host: a network namespace with a wire to this one.
connect_device() {
  ip netns add device
  ip link add gateway type veth peer name uplink netns device
  ip addr add 10.9.0.1/24 dev gateway
  ip link set gateway up
  ip -n device addr add 10.9.0.2/24 dev uplink
  ip -n device link set uplink up
  ip -n device link set lo up
}

# A broker that the device reaches, and the node's name.
install_site() {
  connect_device
  printf 'listener 1883 0.0.0.0\nallow_anonymous true\n' >/etc/mosquitto/conf.d/site.conf
  systemctl restart mosquitto
  mkdir -p /etc/promptd/conf.d
  printf '[node]\nname = "gateway"\n' >/etc/promptd/conf.d/10-site.toml
}

# add_model SECONDS, within which it must serve.
add_model() {
  step 'a model is added'
  promptd model add ./model.gguf --sha256 "$(sha256sum model.gguf | cut -d' ' -f1)" || fail 'model add'
  until_true "$1" is_state ready || fail 'not ready'
}

# ask SECONDS [TEXT]: the answer to a device's request, as JSON.
ask() {
  local id=r$RANDOM$RANDOM
  timeout "$1" ip netns exec device mosquitto_rr -h 10.9.0.1 -V mqttv5 -q 1 -i "device-$id" \
    -t "$topics/request/generate/sensor" -e "$topics/response/sensor/$id" \
    -m "{\"id\":\"$id\",\"prompt\":\"${2:-What is MQTT?}\",\"max_tokens\":${TOKENS:-16}}"
}

answers() {
  local answer
  answer=$(ask "$1") || { echo "no answer within $1 s"; return 1; }
  echo "$answer"
  grep -q '"event":"result"' <<<"$answer"
}

pid_of() { systemctl show --property MainPID --value promptd; }

engine_of() { pgrep -P "$(pid_of)" -f 'promptd engine' | head -n 1; }

state() { promptd status --json | sed -nE 's/.*"state": *"([a-z_]+)".*/\1/p'; }

serves() { promptd models --json | grep -q '"state": *"ready"'; }

is_state() { [ "$(state)" = "$1" ]; }

is_another() { local now; now=$("$1") && [ -n "$now" ] && [ "$now" != "$2" ]; }
