#!/usr/bin/env bash
# The Debian packages that a module's libraries are from, as a dependency, for libraries whose packages do not tell it themselves.
# $1: module, $2: pattern of libraries, such as '^lib(cudart|cublas)\.'. Libraries that are from no package are named and left out.
set -euo pipefail
module=$1 pattern=$2

packages=()
while read -r library _ path _; do
  [[ $library =~ $pattern ]] || continue
  if [ -f "$path" ] && owner=$(dpkg -S "$(realpath "$path")" 2>/dev/null); then
    packages+=("${owner%%[,:]*}")
  else
    echo "packages-of: $library of $module is from no package here" >&2
  fi
done < <(ldd "$module")
[ "${#packages[@]}" -eq 0 ] || printf '%s\n' "${packages[@]}" | sort -u | paste -sd, | sed 's/,/, /g'
