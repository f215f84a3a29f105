#!/usr/bin/env python3
"""Writes what a BERT encoder makes of some texts, computed in 32 bits by its definition: what promptd is compared with.

    embed_reference.py FOLDER HEAD TEXTS.json OUT.json

FOLDER holds `config.json`, `model.safetensors` (F32) and `vocab.txt`, as Hugging Face lays them out; HEAD the `weight` and `bias`
of a classification head on the mean (`head.safetensors`); TEXTS.json is a list of strings, or of objects with a `text`, which then keep
what else they have and get no embedding. For each, OUT.json gets the number of
tokens, the mean of the last layer with length 1 as little-endian floats in base64, and the probabilities of the head's classes.
Nothing here is llama.cpp's: Hugging Face's tokenizer cuts the texts, and numpy multiplies.
"""
import base64
import json
import math
import pathlib
import sys

import numpy as np
from tokenizers import BertWordPieceTokenizer


def load(path):
    """The tensors of a safetensors file by name."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in table.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[start:end], dtype="<f4").reshape(entry["shape"])
    return tensors


class Encoder:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.weights = load(folder / "model.safetensors")
        self.tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)._tokenizer
        # What looks like a control token in a text is text.
        self.tokenizer.encode_special_tokens = True

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name, x):
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        scaled = (x - mean) / np.sqrt(variance + np.float32(self.config["layer_norm_eps"]))
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, layer, x):
        heads = self.config["num_attention_heads"]
        tokens, width = x.shape
        query, key, value = (
            self.linear(f"{layer}.attention.self.{part}", x).reshape(tokens, heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.float32(math.sqrt(width // heads))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = (scores @ value).transpose(1, 0, 2).reshape(tokens, width)
        return self.norm(f"{layer}.attention.output.LayerNorm", x + self.linear(f"{layer}.attention.output.dense", mixed))

    def feed_forward(self, layer, x):
        inner = self.linear(f"{layer}.intermediate.dense", x)
        erf = np.vectorize(math.erf, otypes=[np.float32])
        inner = inner * np.float32(0.5) * (1 + erf(inner / np.float32(math.sqrt(2))))
        return self.norm(f"{layer}.output.LayerNorm", x + self.linear(f"{layer}.output.dense", inner))

    def embed(self, text):
        """Number of tokens, and the mean of the last layer."""
        ids = self.tokenizer.encode(text).ids
        words, positions, types = (
            self.weights[f"embeddings.{part}_embeddings.weight"] for part in ("word", "position", "token_type")
        )
        x = self.norm("embeddings.LayerNorm", words[ids] + positions[: len(ids)] + types[0])
        for number in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            x = self.feed_forward(layer, self.attention(layer, x))
        return len(ids), x.mean(0)


def classify(head, mean):
    """The probabilities of the classes."""
    outputs = head["weight"] @ mean + head["bias"]
    powers = np.exp(outputs - outputs.max())
    return powers / powers.sum()


def main():
    folder, head, texts, out = (pathlib.Path(argument) for argument in sys.argv[1:])
    encoder, head = Encoder(folder), load(head / "head.safetensors")
    entries = []
    for given in json.loads(texts.read_text(encoding="utf-8")):
        text = given["text"] if isinstance(given, dict) else given
        tokens, mean = encoder.embed(text)
        embedding = (mean / np.linalg.norm(mean)).astype("<f4").tobytes()
        classes = [round(float(probability), 6) for probability in classify(head, mean)]
        if isinstance(given, dict):
            entries.append({**given, "classes": classes})
            continue
        data = base64.b64encode(embedding).decode("ascii")
        entries.append({"text": text, "tokens": tokens, "classes": classes, "embedding": data})
    # A line each, so that a change of one shows as one.
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
