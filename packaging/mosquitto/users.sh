#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: users.sh [OPTION...] ROLE USER [ARGUMENT...]    gives a user a role and a password
       users.sh [OPTION...] remove USER                takes both away
       users.sh [OPTION...] list                       prints who has which role

Writes mosquitto's ACL and password files for a promptd fleet. Doing the same again changes nothing. Roles:

  device USER             USER is the client's name in promptd's topics
  monitor USER            reads what nodes say about themselves
  operator USER           a monitor that also controls nodes
  node USER [NODE...]     a promptd, or a bridge that brings several; NODE is node.name, USER if none is given
  binding USER FROM TO NODE_USER
                          a device that publishes on FROM and reads TO, for a [[binding]] of that node

Options:
  --acl FILE              default: /etc/mosquitto/promptd.acl
  --passwords FILE        default: /etc/mosquitto/promptd.passwords
  --secrets FOLDER        default: /etc/mosquitto/promptd.secrets. FOLDER/USER is the password of a new user; where there is
                          no such file one is made. Bring it to the device, then delete it: the broker does not read it.
  --new-password          for a user that has one already: as for a new user
  --no-password           for users that come with a certificate

The broker reads the files again with `systemctl reload mosquitto`. What is written comes from promptd.acl beside this script:
after an update of it, any call brings its new lines. Lines of your own below `#[own]` stay.
TEXT
}
fail() { echo "users: $*" >&2; exit 1; }

template=$(dirname "$(realpath "$0")")/promptd.acl
acl=/etc/mosquitto/promptd.acl
passwords=/etc/mosquitto/promptd.passwords
secrets=/etc/mosquitto/promptd.secrets
password=keep
reserved=(control doctor cli anonymous)

while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit ;;
    --acl | --passwords | --secrets) [ $# -ge 2 ] || fail "$1 needs a value"; declare "${1#--}=$2"; shift 2 ;;
    --new-password) password=new; shift ;;
    --no-password) password=none; shift ;;
    -*) usage >&2; fail "unknown option $1" ;;
    *) break ;;
  esac
done

# $1: what it is, $2: a name that may stand in promptd's topics.
check_name() {
  [[ $2 =~ ^[A-Za-z0-9._-]{1,64}$ ]] || fail "$1 \"$2\" is not of 1 to 64 letters, digits, '.', '_' and '-'"
}
check_user() {
  local name
  check_name user "$1"
  for name in "${reserved[@]}"; do
    [ "$1" != "$name" ] || fail "the name $1 is promptd's own"
  done
  [[ $1 != binding.* ]] || fail "the name $1 is promptd's own: so its bindings are called as clients"
}
check_filter() {
  [[ $1 =~ ^[^[:space:][:cntrl:]]{1,256}$ ]] || fail "topic \"$1\" is not of 1 to 256 bytes without white space"
  [[ $1 != promptd/* && $1 != '#' && $1 != +* && $1 != \$* ]] || fail "topic \"$1\" would reach beyond the device's own"
}

# The part of the template under this mark, without the mark.
part() { awk -v mark="#[$1]" 'index($0, "#[") == 1 { found = index($0, mark) == 1 } found' "$template"; }

# $1: role, then its arguments. Prints the user's part of the file, with the line that tells how it was made.
block() {
  local role=$1 user=$2 node
  shift 2
  echo "#[user] $role $user${*:+ $*}"
  case $role in
    device) ;;
    monitor | operator) fill "$role" -e "s|@USER@|$user|g" ;;
    node) for node in "$@"; do fill node -e "s|@USER@|$user|g" -e "s|@NODE@|$node|g"; done ;;
    binding) fill binding -e "s|@USER@|$user|g" -e "s|@FROM@|$(quote "$1")|g" -e "s|@TO@|$(quote "$2")|g" -e "s|@NODE@|$3|g" ;;
    *) fail "$acl has a user of the unknown role \"$role\"" ;;
  esac
}
fill() { part "role $1" | sed -e '/^#/d' -e '/^$/d' "${@:2}"; }
# For the right side of sed's s, and its separator.
quote() { printf '%s' "$1" | sed 's/[&|\\]/\\&/g'; }

# Roles and users as the file has them: `ROLE USER [ARGUMENT...]`.
users() { if [ -f "$acl" ]; then sed -n 's/^#\[user\] //p' "$acl"; fi; }
own() { if [ -f "$acl" ]; then sed '1,/^#\[own\]/d' "$acl"; fi; }

# Standard input: the new content. A broker that reads the file at this moment finds the old one or the new one.
replace() {
  local file=$1 new
  new=$(mktemp "$file.XXXXXX")
  cat >"$new"
  chmod 0640 "$new"
  # mosquitto has given up root's rights when it is told to read the files again.
  if [ "$(id -u)" -eq 0 ] && getent group mosquitto >/dev/null; then chgrp mosquitto "$new"; fi
  if cmp -s "$new" "$file"; then rm "$new"; else mv "$new" "$file"; fi
}

# Standard input: roles and users.
write_acl() {
  local line words
  {
    echo "# Made by promptd's users.sh, which says how. Only lines below the last mark are kept as they are."
    part "role device"
    part reserved
    while read -r line; do
      read -ra words <<<"$line"
      block "${words[@]}"
      echo
    done
    part own
    own
  } | replace "$acl"
}

# $1: user. The password is never an argument of a command, where others could see it.
set_password() {
  local user=$1 secret=$secrets/$1
  if [ ! -s "$secret" ]; then
    mkdir -p "$secrets"
    chmod 0700 "$secrets"
    (umask 0077 && head -c 24 /dev/urandom | base64 >"$secret")
  fi
  [[ $(<"$secret") != *[:$'\n']* ]] || fail "the password in $secret has a ':' or a second line, which mosquitto_passwd cannot take"
  work=$(mktemp)
  trap 'rm -f "$work"' EXIT
  printf '%s:%s\n' "$user" "$(<"$secret")" >"$work"
  mosquitto_passwd -U "$work" || fail "mosquitto_passwd failed"
  { without_password "$user"; cat "$work"; } | replace "$passwords"
  echo "users: the password of $user is in $secret"
}
has_password() { [ -f "$passwords" ] && grep -q "^$1:" "$passwords"; }
without_password() { if [ -f "$passwords" ]; then awk -F: -v user="$1" '$1 != user' "$passwords"; fi; }

role=${1:-}
user=${2:-}
case $role in
  list) users; exit ;;
  remove)
    [ $# -eq 2 ] || fail "remove needs a user"
    check_name user "$user"
    remaining=$(users | awk -v user="$user" '$2 != user')
    if [ -n "$remaining" ]; then write_acl <<<"$remaining"; else write_acl </dev/null; fi
    without_password "$user" | replace "$passwords"
    exit ;;
  device | monitor | operator) [ $# -eq 2 ] || fail "$role needs a user and no more" ;;
  node)
    [ $# -ge 2 ] || fail "node needs a user"
    [ $# -ge 3 ] || set -- "$@" "$user"
    for name in "${@:3}"; do
      check_name node "$name"
      [ "$name" != group ] || fail "promptd/group is where groups are; no node can be called so"
    done ;;
  binding)
    [ $# -eq 5 ] || fail "binding needs a user, the topic it publishes on, the topic it reads, and the user of its node"
    check_filter "$3"
    check_filter "$4"
    check_user "$5" ;;
  '') usage >&2; fail "no role was given" ;;
  *) usage >&2; fail "unknown role \"$role\"" ;;
esac
check_user "$user"
# A device stays one when it changes its role: the line of its old role goes.
{ users | awk -v user="$user" '$2 != user'; echo "$*"; } | LC_ALL=C sort | write_acl
case $password in
  none) without_password "$user" | replace "$passwords" ;;
  new) set_password "$user" ;;
  keep) has_password "$user" || set_password "$user" ;;
esac
