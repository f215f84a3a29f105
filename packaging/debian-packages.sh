# shellcheck shell=bash
# Sourced by scripts that need Debian packages.

# Installs what is missing; quick when nothing is. $1: who asks, for messages; then packages.
install_missing() {
  local who=$1 missing=() sudo=() package
  shift
  for package; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return
  command -v apt-get >/dev/null || { echo "$who: no apt-get here; install by hand: ${missing[*]}" >&2; return 1; }
  if [ "$(id -u)" -ne 0 ]; then sudo=(sudo); fi
  echo "$who: installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}
