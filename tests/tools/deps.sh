#!/usr/bin/env bash
# Installs what building and testing promptd needs on Debian 12 or a relative of it. Quick when nothing is missing.
set -euo pipefail

packages=(
  build-essential cmake clang libclang-dev ccache   # llama.cpp and its bindings
  mosquitto mosquitto-clients                       # the broker that tests and the demo start on loopback
  python3 python3-pip python3-venv                  # fetches the test model and the peers of the benchmark
  ca-certificates
)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
command -v cargo >/dev/null || { echo "deps: Rust is missing; install 1.95 or newer with rustup" >&2; exit 1; }
for component in fmt clippy; do
  cargo "$component" --version >/dev/null 2>&1 \
    || echo "deps: cargo $component is missing; \`make test\` needs it: rustup component add rustfmt clippy" >&2
done
[ "${#missing[@]}" -eq 0 ] && exit 0

command -v apt-get >/dev/null || { echo "deps: no apt-get here; install by hand: ${missing[*]}" >&2; exit 1; }
sudo=()
if [ "$(id -u)" -ne 0 ]; then sudo=(sudo); fi
echo "deps: installing ${missing[*]}"
"${sudo[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
