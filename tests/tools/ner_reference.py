#!/usr/bin/env python3
"""Writes what a classifier of tokens finds in some texts: what promptd is compared with.

    ner_reference.py FOLDER TEXTS.json OUT.json

FOLDER holds `config.json`, `tokenizer.json` and `onnx/model_q4.onnx`; TEXTS.json is a list of strings. For each, OUT.json gets the number
of tokens that were computed and the entities. Nothing here is llama.cpp's: Hugging Face's tokenizer cuts the texts, and ONNX Runtime
computes. How words become entities is promptd's own rule (daemon/src/engine/child/encoder/entities.rs), written once more.
"""
import json
import pathlib
import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

MOST = 512
OVERLAP = 64


class Model:
    def __init__(self, folder):
        labels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
        self.labels = [labels[str(number)] for number in range(len(labels))]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        # What looks like a control token in a text is text.
        self.tokenizer.encode_special_tokens = True
        self.session = onnxruntime.InferenceSession(str(folder / "onnx/model_q4.onnx"), providers=["CPUExecutionProvider"])
        self.names = {given.name for given in self.session.get_inputs()}

    def probabilities(self, ids):
        """Of the classes, for each token of a window."""
        ids = [self.tokenizer.token_to_id("[CLS]"), *ids, self.tokenizer.token_to_id("[SEP]")]
        feed = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [0] * len(ids)}
        feed = {name: np.array([values], dtype=np.int64) for name, values in feed.items() if name in self.names}
        outputs = self.session.run(None, feed)[0][0][1:-1]
        powers = np.exp(outputs - outputs.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    def tokens(self, ids):
        """The same for a text of any length, in windows, and the number of tokens computed."""
        rows, start, kept, computed, most = [], 0, 0, 0, MOST - 2
        while kept < len(ids):
            end = min(len(ids), start + most)
            keep = end if end == len(ids) else end - OVERLAP // 2
            rows.append(self.probabilities(ids[start:end])[kept - start : keep - start])
            computed += end - start + 2
            start, kept = end - OVERLAP, keep
        return np.concatenate(rows), computed

    def parts(self, text):
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        rows, computed = self.tokens(encoding.ids)
        kinds = sorted({label[2:] for label in self.labels if label != "O"}, key=lambda kind: self.labels.index("B-" + kind))
        words = {}
        for token, word in enumerate(encoding.word_ids):
            words.setdefault(word, []).append(token)
        parts = []
        for word, tokens in words.items():
            mean = rows[tokens].mean(0)
            scores = {kind: mean[self.labels.index("B-" + kind)] + mean[self.labels.index("I-" + kind)] for kind in kinds}
            kind = max(kinds, key=scores.get)
            if scores[kind] <= mean[self.labels.index("O")]:
                continue
            first = rows[tokens[0]]
            begins = first[self.labels.index("B-" + kind)] > first[self.labels.index("I-" + kind)]
            start, end = encoding.offsets[tokens[0]][0], encoding.offsets[tokens[-1]][1]
            parts.append((word, kind, begins, scores[kind], start, end))
        return parts, computed


def entities(text, parts):
    found = []
    for word, kind, begins, score, start, end in parts:
        last = found[-1] if found else None
        joins = last and last["type"] == kind and last["word"] + 1 == word and (last["end"] == start or not begins)
        if not joins:
            last = {"type": kind, "start": start, "scores": []}
            found.append(last)
        last.update(word=word, end=end)
        last["scores"].append(float(score))
    return [
        {
            "text": text[one["start"] : one["end"]],
            "type": one["type"],
            "start": one["start"],
            "end": one["end"],
            "score": round(sum(one["scores"]) / len(one["scores"]), 6),
        }
        for one in found
    ]


def main():
    folder, texts, out = (pathlib.Path(argument) for argument in sys.argv[1:])
    model = Model(folder)
    entries = []
    for text in json.loads(texts.read_text(encoding="utf-8")):
        parts, computed = model.parts(text)
        entries.append({"text": text, "tokens": computed, "entities": entities(text, parts)})
    # A line each, so that a change of one shows as one.
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
