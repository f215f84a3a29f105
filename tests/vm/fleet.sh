# shellcheck shell=bash
# A site as packaging/README.md says: a broker with users, the package from the fleet's own repository, everything else by
# fleet.sh, whose way to the machine is a shell on it.
. ./lib.sh

topics=promptd/gateway
sha256=$(sha256sum model.gguf | cut -d' ' -f1)
tar -xf packaging.tar
mkdir -p /srv/apt /srv/models
tar -xf repository.tar -C /srv/apt
cp model.gguf /srv/models/
# shellcheck disable=SC2016  # For the shell that runs it.
printf '#!/bin/sh\nexec bash -c "$2"\n' >way
chmod +x way
cat >fleet.toml <<'TOML'
[node]
name = "@NODE@"
[mqtt]
username = "@NODE@"
password_credential = "mqtt-password"
[[model]]
name = "main"
files = [{ path = "/var/lib/promptd/models/model.gguf" }]
TOML

roll_out() {
  packaging/fleet.sh --ssh ./way --sources /srv/apt/promptd-fleet.sources --config fleet.toml \
    --secrets /etc/mosquitto/promptd.secrets --model http://127.0.0.1:8000/model.gguf --sha256 "$sha256" "$@" gateway \
    >said.txt 2>&1
  local code=$?
  cat said.txt
  return $code
}
users() { packaging/mosquitto/users.sh "$@" || fail "users.sh $*"; }
secret() { cat "/etc/mosquitto/promptd.secrets/$1"; }

# $1: seconds. As a device of the name sensor.
sensor_is_answered() {
  local id=r$RANDOM
  timeout "$1" mosquitto_rr -V mqttv5 -q 1 -u sensor -P "$(secret sensor)" -t "$topics/request/generate/sensor" \
    -e "$topics/response/sensor/$id" -m "{\"id\":\"$id\",\"prompt\":\"What is MQTT?\",\"max_tokens\":16}" >answer.json
  cat answer.json
  grep -q '"event":"result"' answer.json
}
# As the monitor; retained.
monitor_sees() {
  timeout 5 mosquitto_sub -u mon -P "$(secret mon)" -t "$topics/status" -C 1 -W 4 | grep -q "\"state\":\"$1\""
}

step 'a broker with users'
for user in 'node gateway' 'device sensor' 'monitor mon' 'operator op'; do
  # shellcheck disable=SC2086  # Two words.
  users $user
done
install -m 0644 packaging/mosquitto/promptd.conf /etc/mosquitto/conf.d/
systemctl restart mosquitto
until_true 10 mosquitto_pub -u op -P "$(secret op)" -t x -m x || { journalctl --no-pager -u mosquitto; fail 'no broker'; }
./busybox httpd -p 127.0.0.1:8000 -h /srv/models

step 'what would be done'
roll_out --dry-run || fail 'the dry run'
if dpkg-query -W promptd 2>/dev/null; then fail 'a dry run has installed it'; fi

step 'the roll-out'
roll_out || { cat fleet-logs/*; fail 'the roll-out'; }
until_true 60 monitor_sees ready || fail 'the monitor does not see that it is ready'
sensor_is_answered 60 || fail 'no answer'
stat -c '%U:%G %a %n' /etc/credstore/promptd.mqtt-password /etc/promptd/conf.d/50-fleet.toml /var/lib/promptd/models/*
[ "$(stat -c '%U %a' /etc/credstore/promptd.mqtt-password)" = 'root 600' ] || fail 'the password can be read'

step 'the same again changes nothing'
started=$(pid_of)
roll_out || fail 'the second roll-out'
if grep -q changed said.txt; then fail 'it changed something'; fi
[ "$(pid_of)" = "$started" ] || fail 'the service was restarted'

step 'a new password, for the broker and for the node'
rm /etc/mosquitto/promptd.secrets/gateway
users --new-password node gateway
systemctl reload mosquitto
roll_out || { cat fleet-logs/*; fail 'the roll-out of the password'; }
grep -q 'changed: /etc/credstore/promptd.mqtt-password' said.txt || fail 'the password was not changed'
until_true 60 monitor_sees ready || fail 'not ready with the new password'
sensor_is_answered 60 || fail 'no answer with the new password'

step 'a mistake in the settings stops it before the service meets it'
started=$(pid_of)
echo 'nonsense = 1' >>fleet.toml
if roll_out; then fail 'nobody minded'; fi
grep -q nonsense said.txt fleet-logs/gateway.log || fail 'nobody said why'
[ "$(pid_of)" = "$started" ] || fail 'the service was restarted'
if grep -q nonsense /etc/promptd/conf.d/50-fleet.toml; then fail 'the mistake lies in wait for the next boot'; fi
sensor_is_answered 60 || fail 'no answer after the mistake'
