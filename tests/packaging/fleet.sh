#!/usr/bin/env bash
# The two ways to bring promptd to many machines: Ansible's own checks and a run that only looks at this machine, and fleet.sh
# with a local shell in the place of ssh, which only looks, too. Neither changes anything here. $1: promptd, $2: model, $3: a
# folder for Ansible, which comes from PyPI.
set -euo pipefail
promptd=$(realpath "$1")
model=$(realpath "$2")
venv=$3/venv
packaging=$(realpath "$(dirname "$0")/../../packaging")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "fleet: $*" >&2; exit 1; }
# What a run that changes something would leave here.
traces() {
  dpkg-query -W promptd 2>/dev/null || true
  find /etc/promptd /etc/credstore /etc/apt/sources.list.d 2>/dev/null | sort || true
}
# $1: exit code, $2: words that must be said, then the command.
expect() {
  local code=0
  "${@:3}" >"$work/said" 2>&1 || code=$?
  if [ "$code" -ne "$1" ] || ! grep -qF -- "$2" "$work/said"; then
    cat "$work/said" >&2
    fail "expected exit code $1 and \"$2\", got $code: ${*:3}"
  fi
}

if [ ! -x "$venv/bin/ansible-lint" ]; then
  mkdir -p "$3"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check 'ansible-core==2.19.*' 'ansible-lint==26.*'
fi
export PATH=$venv/bin:$PATH ANSIBLE_HOME=$work/ansible ANSIBLE_NOCOLOR=1
cd "$packaging/ansible"
ansible-lint --offline --nocolor site.yml
ansible-playbook --syntax-check -i inventory.example.ini site.yml

digest=$(sha256sum "$model" | cut -d' ' -f1)
echo "a certificate" >"$work/ca.crt"
echo "Types: deb" >"$work/promptd-fleet.sources"
cat >"$work/inventory.ini" <<INI
[promptd]
gw1 ansible_connection=local ansible_python_interpreter=/usr/bin/python3
[promptd:vars]
promptd_broker=mqtt://broker.example.org
promptd_password=never-to-be-seen
promptd_apt_sources=$work/promptd-fleet.sources
promptd_model_url=https://models.example.org/folder/model.gguf?download=1
promptd_model_sha256=$digest
INI
before=$(traces)
if [ "$(id -u)" -eq 0 ]; then
  expect 0 "failed=0" ansible-playbook -i "$work/inventory.ini" --check --diff site.yml
  ! grep -q never-to-be-seen "$work/said" || fail "the password is shown"
  expect 2 "64 hexadecimal digits" ansible-playbook -i "$work/inventory.ini" --check site.yml -e promptd_model_sha256=abc
else
  echo "fleet: not root: the play was not run in check mode"
fi

# What the template makes is a configuration for promptd.
# Extra variables, of which the last counts: `ansible` does not know a role's defaults.
expect 0 CHANGED ansible gw1 -i "$work/inventory.ini" -m ansible.builtin.template \
  -a "src=$PWD/roles/promptd/templates/promptd.toml.j2 dest=$work/promptd.toml" -e @roles/promptd/defaults/main.yml \
  -e "promptd_broker=mqtt://broker.example.org promptd_password=x promptd_model_url=https://models.example.org/model.gguf" \
  -e "promptd_model_sha256=$digest promptd_model_file=$model" -e '{"promptd_model_settings": "sequences = 2\ncontext = 1024"}' \
  -e '{"promptd_settings": "[limits]\nmax_tokens = 100"}'
mkdir "$work/credentials"
echo password >"$work/credentials/mqtt-password"
expect 0 "node gw1, broker mqtt://broker.example.org:1883, 1 model(s)" \
  env CREDENTIALS_DIRECTORY="$work/credentials" "$promptd" check --config "$work/promptd.toml"

# fleet.sh. Its way to a machine: a shell here; "down" is a machine that cannot be reached.
cat >"$work/ssh" <<'SSH'
#!/usr/bin/env bash
[ "$1" != down ] || { echo "no route to host" >&2; exit 255; }
exec bash -c "$2"
SSH
chmod +x "$work/ssh"
printf '[node]\nname = "@NODE@"\n' >"$work/fleet.toml"
mkdir "$work/secrets"
echo never-to-be-seen | tee "$work/secrets/gw1" >"$work/secrets/gw2"
cd "$work"
fleet() { "$packaging/fleet.sh" --dry-run --ssh "$work/ssh" "$@"; }
expect 0 "gw2: well, changed: " fleet --sources promptd-fleet.sources --config fleet.toml --ca ca.crt --secrets secrets \
  --model https://models.example.org/model.gguf --sha256 "$digest" gw1 gw2=elsewhere
for changed in /etc/apt/sources.list.d/promptd-fleet.sources /etc/promptd/conf.d/50-fleet.toml /etc/promptd/broker-ca.crt \
  /etc/credstore/promptd.mqtt-password /var/lib/promptd/models/model.gguf; do
  grep -q "changed: $changed" fleet-logs/gw1.log || fail "$changed was not told"
done
! grep -rq never-to-be-seen "$work/said" fleet-logs || fail "the password is shown"
# The first goes alone; after a failure none is begun, and those that run come to their end.
expect 1 "not begun after 1 failures: b c" fleet --parallel 2 a=down b c
expect 1 "not begun after 2 failures: " fleet --parallel 2 --failures 2 a b=down c d=down e f
expect 1 "failed: b" fleet --failures 9 a b=down c
for end in "a: well" "c: well"; do grep -q "$end" "$work/said" || fail "$end"; done
expect 2 "1 to 999999 are allowed" fleet --parallel 0 a
expect 2 "64 hexadecimal digits" fleet --model https://x/y.gguf a
expect 2 "no password in" fleet --secrets secrets gw3
expect 2 "destination \"-oProxyCommand=x\" is none" fleet a=-oProxyCommand=x
expect 2 "unknown option --nonsense" fleet --nonsense x a

after=$(traces)
[ "$before" = "$after" ] || fail "something here was changed: $after"
echo "fleet: everything was as it should be"
