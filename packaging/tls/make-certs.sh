#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: make-certs.sh [OPTION...] ca                 an authority of your own: ca.crt and ca.key
       make-certs.sh [OPTION...] server HOST...     for the broker: server-HOST.crt and .key, valid for every HOST given, each a
                                                    name or an address; the first one names the files
       make-certs.sh [OPTION...] client USER...     for each user of the broker: client-USER.crt and .key

Makes certificates for the broker of a promptd fleet and its clients, with openssl. What is there already stays: nothing is
overwritten, and it is said when a certificate ends. To renew one, move its two files away. Keys are readable for their owner
only. ca.key signs whatever it is asked to: keep it on a machine that is not the broker.

Options:
  --folder FOLDER   where the files are (default: here)
  --days N          how long a server's or client's certificate is valid (default: 825; the authority's: ten years)
  --name NAME       what the authority is called (default: promptd fleet)

At the broker: ../mosquitto/tls.conf. At a node, in promptd.toml: mqtt.url = "mqtts://HOST", mqtt.ca_file = ".../ca.crt".
TEXT
}
fail() { echo "make-certs: $*" >&2; exit 1; }

folder=.
days=825
ca_days=3653
name="promptd fleet"
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit ;;
    --folder | --days | --name) [ $# -ge 2 ] || fail "$1 needs a value"; declare "${1#--}=$2"; shift 2 ;;
    -*) usage >&2; fail "unknown option $1" ;;
    *) break ;;
  esac
done
[[ $days =~ ^[1-9][0-9]{0,4}$ ]] || fail "--days is \"$days\"; 1 to 99999 are allowed"
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9\ ._-]{0,63}$ ]] || fail "--name is \"$name\"; allowed are up to 64 letters, digits, spaces, '.', '_' and '-'"

# Whether there is nothing to do. A half of a pair is a mistake that must not be made worse. $1: path without its ending.
is_there() {
  [ -e "$1.crt" ] || [ -e "$1.key" ] || return 1
  if [ ! -e "$1.crt" ] || [ ! -e "$1.key" ]; then
    fail "of $1.crt and $1.key one is missing; move the other away or bring it back"
  fi
  echo "make-certs: $1.crt is there; it ends $(openssl x509 -noout -enddate -in "$1.crt" | cut -d= -f2)"
}

# $1: path without its ending, $2: common name, $3: days, then what openssl needs to sign. Standard input: the extensions.
# Both files appear whole, the certificate last.
make() {
  local path=$1 subject=$2 valid=$3
  shift 3
  cat >"$work/extensions"
  (umask 0077 && openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/key") || fail "openssl made no key"
  openssl req -new -key "$work/key" -subj "/CN=$subject" -out "$work/request" || fail "openssl made no request"
  openssl x509 -req -in "$work/request" -days "$valid" -sha256 -extfile "$work/extensions" "$@" -out "$work/crt" 2>"$work/log" \
    || fail "openssl did not sign: $(<"$work/log")"
  chmod 0644 "$work/crt"
  mv -n "$work/key" "$path.key"
  mv -n "$work/crt" "$path.crt"
  echo "make-certs: $path.crt"
}
# A serial number that nobody can guess, and no file to count them in.
sign() { make "$1" "$2" "$days" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -set_serial "0x$(openssl rand -hex 16)"; }

make_ca() {
  is_there "$folder/ca" && return
  make "$folder/ca" "$name" "$ca_days" -signkey "$work/key" <<'TEXT'
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
TEXT
}

is_address() { [[ $1 == *:* || $1 =~ ^[0-9.]+$ ]]; }
# $1: certificate, $2: host. openssl's exit code does not tell.
is_for() {
  local option=-checkhost
  if is_address "$2"; then option=-checkip; fi
  # Any name that a wildcard stands for will do.
  openssl x509 -noout "$option" "${2/#\*/any}" -in "$1" | grep -q ' does match '
}

make_server() {
  # A file cannot well be called after a wildcard.
  local path=$folder/server-${1/#\*/any} host names=()
  for host; do
    [[ $host =~ ^(\*\.)?[A-Za-z0-9.:-]{1,253}$ ]] || fail "\"$host\" is neither a host's name nor an address"
    if is_address "$host"; then names+=("IP:$host"); else names+=("DNS:$host"); fi
  done
  if is_there "$path"; then
    for host; do is_for "$path.crt" "$host" || fail "it is not for $host; move its two files away to have a new one"; done
    return
  fi
  sign "$path" "${1:0:64}" <<TEXT
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = $(IFS=,; echo "${names[*]}")
authorityKeyIdentifier = keyid
TEXT
}

make_client() {
  [[ $1 =~ ^[A-Za-z0-9._-]{1,64}$ ]] || fail "user \"$1\" is not of 1 to 64 letters, digits, '.', '_' and '-'"
  is_there "$folder/client-$1" && return
  sign "$folder/client-$1" "$1" <<'TEXT'
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
TEXT
}

need_ca() {
  if [ ! -e "$folder/ca.crt" ] || [ ! -e "$folder/ca.key" ]; then fail "no ca.crt and ca.key in $folder; make-certs.sh ca makes them"; fi
}

command -v openssl >/dev/null || fail "openssl is missing: apt install openssl"
mkdir -p "$folder"
work=$(mktemp -d "$folder/.make-certs.XXXXXX")
trap 'rm -rf "$work"' EXIT
kind=${1:-}
case $kind in
  ca) [ $# -eq 1 ] || fail "ca takes no arguments"; make_ca ;;
  server) [ $# -ge 2 ] || fail "server needs the names or addresses of the broker"; need_ca; make_server "${@:2}" ;;
  client) [ $# -ge 2 ] || fail "client needs at least one user"; need_ca; for user in "${@:2}"; do make_client "$user"; done ;;
  *) usage >&2; fail "ca, server or client?" ;;
esac
