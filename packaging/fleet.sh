#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: fleet.sh [OPTION...] NODE[=DESTINATION]...

Brings promptd to the machines of a fleet over plain ssh, as the Ansible role beside it does: repository, package, settings,
broker's authority and password, model, service, and `promptd doctor` at the end. NODE is node.name and the user at the broker;
DESTINATION is what ssh connects to (default: NODE). Doing the same again changes nothing. The first machine goes alone; what
goes wrong with it goes wrong with no other.

  --sources FILE     promptd-fleet.sources of apt/publish.sh (default: the machine's repositories have promptd)
  --package NAME     a further package, such as promptd-backend-vulkan; may be repeated
  --config FILE      becomes /etc/promptd/conf.d/50-fleet.toml, with NODE in the place of @NODE@
  --ca FILE          the broker's authority; becomes /etc/promptd/broker-ca.crt (mqtt.ca_file)
  --secrets FOLDER   FOLDER/NODE is the node's password, as mosquitto/users.sh leaves it (mqtt.password_credential = "mqtt-password")
  --model URL        of a .gguf file: each node fetches it into /var/lib/promptd/models; a [[model]] in --config names it
  --sha256 DIGEST    of the model, 64 hexadecimal digits
  --parallel N       so many machines at once (default: 4)
  --failures N       after so many failures no further machine is begun (default: 1)
  --timeout SECONDS  for one machine (default: 7200)
  --logs FOLDER      one file for each machine (default: fleet-logs)
  --ssh COMMAND      instead of `ssh`: gets DESTINATION and a command, such as "ssh -i KEY -o BatchMode=yes"
  --dry-run          connects and says what would be changed; changes nothing

There it runs as root, or with a sudo that asks for nothing. Exit code: 0 all is well, 1 some machine is not, 2 it makes no sense.
TEXT
}
fail() { echo "fleet: $*" >&2; exit 2; }

sources='' config='' ca='' secrets='' model='' sha256='' logs=fleet-logs ssh=ssh
packages=(promptd)
parallel=4 failures=1 timeout=7200 dry_run=no
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit ;;
    --dry-run) dry_run=yes; shift; continue ;;
    --*) [ $# -ge 2 ] || fail "$1 needs a value" ;;&
    --sources | --config | --ca | --secrets | --model | --sha256 | --parallel | --failures | --timeout | --logs | --ssh)
      declare "${1#--}=$2"; shift 2 ;;
    --package) packages+=("$2"); shift 2 ;;
    -*) usage >&2; fail "unknown option $1" ;;
    *) break ;;
  esac
done
[ $# -ge 1 ] || { usage >&2; fail "no machine was given"; }
for number in parallel failures timeout; do
  [[ ${!number} =~ ^[1-9][0-9]{0,5}$ ]] || fail "--$number is \"${!number}\"; 1 to 999999 are allowed"
done
for file in sources config ca; do [ -z "${!file}" ] || [ -f "${!file}" ] || fail "--$file: there is no file ${!file}"; done
if [ -n "$model$sha256" ]; then
  [[ $model =~ ^https?://[^[:space:]\']+$ ]] || fail "--model is \"$model\"; it begins with https:// or http://"
  [[ $sha256 =~ ^[0-9a-f]{64}$ ]] || fail "--sha256 is \"$sha256\"; 64 hexadecimal digits are needed with --model"
fi
for package in "${packages[@]}"; do
  [[ $package =~ ^[a-z0-9][a-z0-9.+-]+$ ]] || fail "--package is \"$package\", which is no package's name"
done
for machine; do
  [[ ${machine%%=*} =~ ^[A-Za-z0-9._-]{1,64}$ ]] || fail "node \"${machine%%=*}\" is not of 1 to 64 letters, digits, '.', '_' and '-'"
  [[ ${machine#*=} =~ ^[^-[:space:]][^[:space:]]*$ ]] || fail "destination \"${machine#*=}\" is none"
  [ -z "$secrets" ] || [ -s "$secrets/${machine%%=*}" ] || fail "--secrets: there is no password in $secrets/${machine%%=*}"
done
read -ra connect <<<"$ssh"
mkdir -p "$logs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What runs there, in a folder with the files. It is read whole before it begins: the connection may break.
cat >"$work/install.sh" <<'REMOTE'
set -euo pipefail
dry_run=$1 model=$2 sha256=$3
shift 3
restart=no
say() { echo "promptd: $*"; }

# $1: file that came along, $2: mode, $3: where it belongs. True if that was something else.
put() {
  [ -e "$1" ] || return 1
  if cmp -s "$1" "$3" && [ "$(stat -c %a "$3")" = "$2" ]; then return 1; fi
  say "changed: $3"
  [ "$dry_run" = yes ] || install -D -m "$2" "$1" "$3"
}

main() {
  export DEBIAN_FRONTEND=noninteractive
  put sources 644 /etc/apt/sources.list.d/promptd-fleet.sources || true
  if [ "$dry_run" = yes ]; then
    apt-get -qq -s -o Debug::NoLocking=true --no-install-recommends install "$@" | sed -n 's/^Inst /promptd: changed: package /p' \
      || say "changed: packages $*, which are not in the repositories that are there now"
  else
    apt-get -qq -o DPkg::Lock::Timeout=600 update
    # An upgrade restarts the service by itself.
    apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold --no-install-recommends install "$@"
    install -d -m 0700 /etc/credstore
  fi
  if put ca 644 /etc/promptd/broker-ca.crt; then restart=yes; fi
  if put password 600 /etc/credstore/promptd.mqtt-password; then restart=yes; fi
  if [ -n "$model" ]; then add_model; fi
  [ "$dry_run" = yes ] || check_settings
  if put config 644 /etc/promptd/conf.d/50-fleet.toml; then restart=yes; fi
  if [ "$dry_run" = yes ]; then return; fi
  systemctl enable --quiet promptd.service
  if [ "$restart" = yes ]; then systemctl restart promptd.service; else systemctl start promptd.service; fi
  doctor
}

# A copy of the settings as they will be, with the secrets that the service would have: a mistake must not lie in wait for the
# next boot.
check_settings() {
  local stage code=0
  stage=$(mktemp -d)
  cp -rp /etc/promptd/. "$stage"
  if [ -e config ]; then install -D -m 644 config "$stage/conf.d/50-fleet.toml"; fi
  chmod 0755 "$stage" "$stage/conf.d"
  systemd-run --quiet --pipe --wait --collect --property=User=promptd \
    --property=LoadCredential=mqtt-password:promptd.mqtt-password --property=LoadCredential=mqtt-key:promptd.mqtt-key \
    promptd check --config "$stage/promptd.toml" || code=$?
  rm -rf "$stage"
  return "$code"
}

# Its file is called as the last part of the URL, without a query. The configuration that came along names it.
add_model() {
  local path=${model%%[?#]*}
  local file=/var/lib/promptd/models/${path##*/}
  if [ -f "$file" ] && echo "$sha256  $file" | sha256sum --check --status; then return; fi
  say "changed: $file"
  if [ "$dry_run" = yes ]; then return; fi
  runuser -u promptd -- promptd model add "$model" --sha256 "$sha256" --name main --only-file --force
  restart=yes
}

# A model takes time to load, and a broker far away to be reached.
doctor() {
  local try
  for try in {1..10}; do
    if promptd doctor; then say "well at look $try"; return; fi
    sleep 6
  done
  say "not well"
  return 1
}

main "$@"
REMOTE

# $1: NODE=DESTINATION. The files go through the connection, so that no secret is an argument of a command.
deploy() {
  local node=${1%%=*} destination=${1#*=} payload=$work/payload-${1%%=*} argument remote
  (umask 0077 && mkdir "$payload")
  cp "$work/install.sh" "$payload/"
  if [ -n "$sources" ]; then cp "$sources" "$payload/sources"; fi
  if [ -n "$ca" ]; then cp "$ca" "$payload/ca"; fi
  if [ -n "$config" ]; then sed "s/@NODE@/$node/g" "$config" >"$payload/config"; fi
  if [ -n "$secrets" ]; then (umask 0077 && cat "$secrets/$node" >"$payload/password"); fi
  printf -v argument ' %q' "$dry_run" "$model" "$sha256" "${packages[@]}"
  # shellcheck disable=SC2016  # For the shell there.
  printf -v remote '%s' 'set -e; umask 077; d=$(mktemp -d); trap "rm -rf $d" EXIT; tar -xz -C "$d"; cd "$d"; ' \
    'if [ "$(id -u)" = 0 ]; then s=; else s="sudo -n"; fi; $s bash ./install.sh' "$argument"
  tar -cz -C "$payload" . | timeout "$timeout" "${connect[@]}" "$destination" "$remote"
}

failed=() left=("$@") started=0
declare -A running=()
begin() {
  local machine=$1
  deploy "$machine" >"$logs/${machine%%=*}.log" 2>&1 &
  running[$!]=$machine
  started=$((started + 1))
}
# Waits for one that ends.
finish() {
  local pid='' code=0 machine
  wait -n -p pid "${!running[@]}" || code=$?
  machine=${running[$pid]}
  unset "running[$pid]"
  if [ "$code" -eq 0 ]; then
    echo "fleet: ${machine%%=*}: well$(sed -n 's/^promptd: changed: /, changed: /p' "$logs/${machine%%=*}.log" | tr -d '\n')"
  else
    failed+=("${machine%%=*}")
    echo "fleet: ${machine%%=*}: failed with $code; the end of $logs/${machine%%=*}.log:" >&2
    tail -n 5 "$logs/${machine%%=*}.log" | sed 's/^/  /' >&2
  fi
}
while [ "${#left[@]}" -gt 0 ] && [ "${#failed[@]}" -lt "$failures" ]; do
  begin "${left[0]}"
  left=("${left[@]:1}")
  if [ "$started" -eq 1 ] || [ "${#running[@]}" -ge "$parallel" ]; then finish; fi
done
while [ "${#running[@]}" -gt 0 ]; do finish; done

[ "${#left[@]}" -eq 0 ] || echo "fleet: not begun after ${#failed[@]} failures: ${left[*]%%=*}" >&2
[ "${#failed[@]}" -eq 0 ] || { echo "fleet: failed: ${failed[*]}" >&2; exit 1; }
