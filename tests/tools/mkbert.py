#!/usr/bin/env python3
"""Writes a BERT encoder as a GGUF file for llama.cpp: mean pooling, token types fixed to "sentence A".

    mkbert.py FOLDER OUT.gguf --type f16|q8_0 --name NAME --license LICENCE [--head HEAD [--per-token]]

FOLDER holds `config.json`, `model.safetensors` (F32) and `vocab.txt` (WordPiece), as Hugging Face lays them out. With HEAD,
a folder with `head.safetensors` (a `weight` and a `bias`) and `labels.json`, it becomes a classifier: of texts, by their mean, or of
tokens, none of which are pooled then. Needs nothing but Python, and memory for one tensor. The same input gives the same bytes on every machine: the arithmetic is
IEEE 754, rounded where llama.cpp's own quantizer rounds.
"""
import argparse
import json
import math
import pathlib
import struct
import sys

# The layout of GGUF: ggml/docs/gguf.md.
GGUF_VERSION = 3
ALIGNMENT = 32
KIND_U32, KIND_I32, KIND_F32, KIND_BOOL, KIND_STRING, KIND_ARRAY = 4, 5, 6, 7, 8, 9
GGML_F32, GGML_F16, GGML_Q8_0 = 0, 1, 8

# `llama_ftype`, `llama_pooling_type` and `llama_token_type` in llama.h; `GGML_QNT_VERSION` in ggml.h.
FILE_TYPES = {GGML_F16: 1, GGML_Q8_0: 7}
POOLING_NONE, POOLING_MEAN, POOLING_RANK = 0, 1, 4
TOKEN_NORMAL, TOKEN_CONTROL, TOKEN_UNUSED = 1, 3, 5
QUANTIZATION_VERSION = 2

BLOCK = 32  # values that share one scale in Q8_0 (`QK8_0`)
ROW_BYTES = {  # bytes of a row of that many values
    GGML_F32: lambda width: 4 * width,
    GGML_F16: lambda width: 2 * width,
    GGML_Q8_0: lambda width: width // BLOCK * (2 + BLOCK),
}

# Tensors by their names in GGUF and in PyTorch; {} is the layer. Matrices take the type that was asked for, except for
# those in KEPT_F32; vectors stay F32. As in llama.cpp's converter.
EMBEDDINGS = {
    "token_embd.weight": "embeddings.word_embeddings.weight",
    "position_embd.weight": "embeddings.position_embeddings.weight",
    "token_types.weight": "embeddings.token_type_embeddings.weight",
    "token_embd_norm.weight": "embeddings.LayerNorm.weight",
    "token_embd_norm.bias": "embeddings.LayerNorm.bias",
}
LAYER = {
    "blk.{}.attn_q": "encoder.layer.{}.attention.self.query",
    "blk.{}.attn_k": "encoder.layer.{}.attention.self.key",
    "blk.{}.attn_v": "encoder.layer.{}.attention.self.value",
    "blk.{}.attn_output": "encoder.layer.{}.attention.output.dense",
    "blk.{}.attn_output_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "blk.{}.ffn_up": "encoder.layer.{}.intermediate.dense",
    "blk.{}.ffn_down": "encoder.layer.{}.output.dense",
    "blk.{}.layer_output_norm": "encoder.layer.{}.output.LayerNorm",
}
KEPT_F32 = ("position_embd.weight", "token_types.weight")


# --- the source ------------------------------------------------------------------------------------------------------


class Safetensors:
    """Tensors of a safetensors file: a length, a JSON table, then the data."""

    def __init__(self, path):
        self.file = path.open("rb")
        (length,) = struct.unpack("<Q", self.file.read(8))
        self.table = json.loads(self.file.read(length))
        self.data = 8 + length

    def shape(self, name):
        entry = self.table.get(name) or sys.exit(f"mkbert: the source has no tensor '{name}'")
        if entry["dtype"] != "F32":
            sys.exit(f"mkbert: tensor '{name}' is {entry['dtype']}; only F32 can be read")
        return entry["shape"]

    def rows(self, name):
        """The rows of a matrix, or a vector as its only row, each as little-endian bytes."""
        start, end = self.table[name]["data_offsets"]
        self.file.seek(self.data + start)
        data = self.file.read(end - start)
        width = 4 * self.shape(name)[-1]
        return (data[at : at + width] for at in range(0, len(data), width))


def vocabulary(path):
    """The tokens as llama.cpp's WordPiece tokenizer wants them, their types, and the position of each in the source.

    It marks the start of a word (U+2581) where WordPiece marks its continuation (##).
    """
    source = path.read_text(encoding="utf-8").split("\n")[:-1]
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    tokens, types = [], []
    for token in source:
        if token in special:
            tokens.append(token)
            types.append(TOKEN_CONTROL)
            continue
        tokens.append(token[2:] if token.startswith("##") else "\u2581" + token)
        types.append(TOKEN_UNUSED if token.startswith("[unused") else TOKEN_NORMAL)
    return tokens, types, {token: at for at, token in enumerate(source)}


# --- weights ---------------------------------------------------------------------------------------------------------


def f32(values):
    """Rounds to single precision."""
    layout = f"<{len(values)}f"
    return struct.unpack(layout, struct.pack(layout, *values))


def q8_0(block):
    """One block of Q8_0: a scale in half precision, a byte a value. As `quantize_row_q8_0_ref` in ggml-quants.c."""
    (scale,) = f32([max(map(abs, block)) / 127])
    (inverse,) = f32([1 / scale if scale else 0.0])
    scaled = f32([value * inverse for value in block])
    return struct.pack(f"<e{BLOCK}b", scale, *(int(value + math.copysign(0.5, value)) for value in scaled))


def encode(row, kind):
    """A row of F32 in another type."""
    if kind == GGML_F32:
        return row
    values = struct.unpack(f"<{len(row) // 4}f", row)
    if kind == GGML_F16:
        return struct.pack(f"<{len(values)}e", *values)
    return b"".join(q8_0(values[at : at + BLOCK]) for at in range(0, len(values), BLOCK))


def plan(source, layers, kind):
    """What is to be written: (name in GGUF, source and name there, shape, type)."""
    names = list(EMBEDDINGS.items())
    for layer in range(layers):
        for ours, theirs in LAYER.items():
            names += ((f"{ours}.{part}".format(layer), f"{theirs}.{part}".format(layer)) for part in ("weight", "bias"))
    tensors = []
    for ours, theirs in names:
        shape = source.shape(theirs)
        exact = len(shape) == 1 or ours in KEPT_F32
        if not exact and kind == GGML_Q8_0 and shape[-1] % BLOCK:
            sys.exit(f"mkbert: rows of '{theirs}' are {shape[-1]} wide; Q8_0 needs a multiple of {BLOCK}")
        tensors.append((ours, (source, theirs), shape, GGML_F32 if exact else kind))
    return tensors


def plan_head(head):
    """The same for a classification head."""
    return [(f"cls.output.{part}", (head, part), head.shape(part), GGML_F32) for part in ("weight", "bias")]


# --- the target ------------------------------------------------------------------------------------------------------


def text(value):
    data = value.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def array(kind, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def entries(config, words, arguments, kind, labels):
    """The metadata as (key, type, bytes)."""
    tokens, types, position = words

    def number(key, value):
        return key, KIND_U32, struct.pack("<I", value)

    yield "general.architecture", KIND_STRING, text("bert")
    yield "general.name", KIND_STRING, text(arguments.name)
    yield "general.license", KIND_STRING, text(arguments.license)
    yield number("general.file_type", FILE_TYPES[kind])
    yield number("general.quantization_version", QUANTIZATION_VERSION)
    yield number("bert.context_length", config["max_position_embeddings"])
    yield number("bert.embedding_length", config["hidden_size"])
    yield number("bert.feed_forward_length", config["intermediate_size"])
    yield number("bert.block_count", config["num_hidden_layers"])
    yield number("bert.attention.head_count", config["num_attention_heads"])
    yield "bert.attention.layer_norm_epsilon", KIND_F32, struct.pack("<f", config["layer_norm_eps"])
    yield "bert.attention.causal", KIND_BOOL, b"\0"
    if labels:
        yield number("bert.pooling_type", POOLING_NONE if arguments.per_token else POOLING_RANK)
        if not arguments.per_token:
            yield number("bert.classifier.pooling_type", POOLING_MEAN)
        yield "bert.classifier.output_labels", KIND_ARRAY, array(KIND_STRING, [text(label) for label in labels])
    else:
        yield number("bert.pooling_type", POOLING_MEAN)
    yield "tokenizer.ggml.model", KIND_STRING, text("bert")
    yield "tokenizer.ggml.pre", KIND_STRING, text("default")
    yield "tokenizer.ggml.tokens", KIND_ARRAY, array(KIND_STRING, [text(token) for token in tokens])
    yield "tokenizer.ggml.token_type", KIND_ARRAY, array(KIND_I32, [struct.pack("<i", code) for code in types])
    yield number("tokenizer.ggml.token_type_count", config["type_vocab_size"])
    # llama.cpp puts BOS in front of every text and SEP behind it. It spells the key like this.
    for key, token in (("bos", "CLS"), ("seperator", "SEP"), ("unknown", "UNK"), ("padding", "PAD"), ("mask", "MASK")):
        yield number(f"tokenizer.ggml.{key}_token_id", position[f"[{token}]"])


def aligned(size):
    return -(-size // ALIGNMENT) * ALIGNMENT


def write(out, metadata, tensors):
    out.write(struct.pack("<4sIQQ", b"GGUF", GGUF_VERSION, len(tensors), len(metadata)))
    for key, kind, value in metadata:
        out.write(text(key) + struct.pack("<I", kind) + value)
    offset = 0
    for name, _, shape, kind in tensors:
        # GGUF names the dimension first in which neighbours lie.
        out.write(text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape)))
        out.write(struct.pack("<IQ", kind, offset))
        offset += aligned(ROW_BYTES[kind](shape[-1]) * math.prod(shape[:-1]))
    for _, (source, theirs), _, kind in tensors:
        out.write(bytes(aligned(out.tell()) - out.tell()))
        for row in source.rows(theirs):
            out.write(encode(row, kind))
    out.write(bytes(aligned(out.tell()) - out.tell()))


def main():
    parser = argparse.ArgumentParser(description="Writes a BERT encoder as a GGUF file.")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--type", choices=("f16", "q8_0"), required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--license", required=True)
    parser.add_argument("--head", type=pathlib.Path)
    parser.add_argument("--per-token", action="store_true")
    arguments = parser.parse_args()

    kind = {"f16": GGML_F16, "q8_0": GGML_Q8_0}[arguments.type]
    config = json.loads((arguments.folder / "config.json").read_text(encoding="utf-8"))
    source = Safetensors(arguments.folder / "model.safetensors")
    words = vocabulary(arguments.folder / "vocab.txt")
    if len(words[0]) != config["vocab_size"]:
        sys.exit(f"mkbert: vocab.txt has {len(words[0])} tokens, config.json says {config['vocab_size']}")
    tensors, labels = plan(source, config["num_hidden_layers"], kind), []
    if arguments.head:
        tensors += plan_head(Safetensors(arguments.head / "head.safetensors"))
        labels = json.loads((arguments.head / "labels.json").read_text(encoding="utf-8"))
    with arguments.out.open("wb") as out:
        write(out, list(entries(config, words, arguments, kind, labels)), tensors)


if __name__ == "__main__":
    main()
