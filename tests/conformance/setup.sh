#!/usr/bin/env bash
# Makes the Python environment of the conformance test: paho-mqtt, pinned by version and SHA-256. A second run only checks a stamp.
#
#   setup.sh DIR
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: setup.sh DIR}
want=$({ cat "$here/requirements.txt"; python3 --version; } | sha256sum | cut -d' ' -f1)
if [ "$(cat "$dir/stamp" 2>/dev/null)" = "$want" ] && [ -x "$dir/bin/python" ]; then
  exit 0
fi
rm -rf "$dir"
python3 -m venv "$dir"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
  -r "$here/requirements.txt"
echo "$want" >"$dir/stamp"
echo "conformance: $dir"
