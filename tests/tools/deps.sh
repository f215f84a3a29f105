#!/usr/bin/env bash
# Installs what building and testing promptd needs on Debian 12 or a relative of it. Quick when nothing is missing.
set -euo pipefail

packages=(
  build-essential cmake clang libclang-dev ccache   # llama.cpp and its bindings
  mosquitto mosquitto-clients                       # the broker that tests and the demo start on loopback
  openssl                                           # certificates of the test brokers
  iproute2                                          # wires between namespaces, which tests cut
  python3 python3-pip python3-venv                  # fetches the test model and the peers of the benchmark
  ca-certificates
)
command -v cargo >/dev/null || { echo "deps: Rust is missing; install 1.95 or newer with rustup" >&2; exit 1; }
for component in fmt clippy; do
  cargo "$component" --version >/dev/null 2>&1 \
    || echo "deps: cargo $component is missing; \`make test\` needs it: rustup component add rustfmt clippy" >&2
done
source "$(dirname "$0")/../../packaging/debian-packages.sh"
install_missing deps "${packages[@]}"
