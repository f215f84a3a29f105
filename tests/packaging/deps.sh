#!/usr/bin/env bash
# Installs what the tests of packaging/ need on Debian 12 or a relative of it.
set -euo pipefail
source "$(dirname "$0")/../../packaging/debian-packages.sh"
install_missing packaging-test shellcheck reprepro gnupg python3-venv
