#!/usr/bin/env python3
"""Takes a BERT with a head for tokens out of an ONNX file, for mkbert.py.

    onnx_bert.py MODEL.onnx CONFIG.json OUT

OUT gets `config.json` and `model.safetensors` as Hugging Face lays them out, and a folder `head` with `head.safetensors` and
`labels.json`. Weights that the file holds in fewer bits (MatMulNBits, DequantizeLinear) are written as the 32-bit numbers that ONNX
Runtime computes with. Needs onnx and numpy.
"""
import json
import pathlib
import re
import struct
import sys

import numpy as np
import onnx
from onnx import numpy_helper


class Graph:
    def __init__(self, path):
        graph = onnx.load(path).graph
        self.nodes = graph.node
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}

    def array(self, name):
        """A tensor of the file, as it is computed with."""
        if name in self.stored:
            return numpy_helper.to_array(self.stored[name])
        node = self.makers[name]
        if node.op_type == "Constant":
            return numpy_helper.to_array(node.attribute[0].t)
        if node.op_type == "DequantizeLinear":
            values, scale, zero = (self.array(each).astype(np.float32) for each in node.input)
            return ((values - zero) * scale).astype(np.float32)
        sys.exit(f"onnx_bert: {name} comes of {node.op_type}, which is not read")

    def matrix(self, node):
        """The weights of a product, as rows of outputs."""
        if node.op_type == "MatMul":
            return self.array(node.input[1]).T
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        if attributes["bits"] != 4 or len(node.input) != 3:
            sys.exit(f"onnx_bert: {node.name} is quantized in a way that is not read")
        packed, scales = self.array(node.input[1]), self.array(node.input[2])
        rows, width, block = attributes["N"], attributes["K"], attributes["block_size"]
        # Two numbers a byte, the first in the low bits; 8 stands for 0.
        numbers = np.stack([packed & 15, packed >> 4], -1).reshape(rows, -1, block).astype(np.float32) - 8
        return (numbers * scales.reshape(rows, -1, 1)).reshape(rows, -1)[:, :width].astype(np.float32)

    def weights(self):
        """All weights by Hugging Face's names, without the name of the model before them."""
        def short(name):
            return name.removeprefix("bert.")

        found = {}
        for name, tensor in self.stored.items():
            if tensor.data_type == onnx.TensorProto.FLOAT and re.match(r"(bert\.|classifier\.)", name) and "_scale" not in name:
                found[short(name)] = self.array(name)
        for node in self.nodes:
            if node.op_type == "Gather" and "embeddings" in node.input[0]:
                found[short(node.input[0]).removesuffix("_quantized").removesuffix("_dequantized")] = self.embedding(node.input[0])
            if node.op_type in ("MatMul", "MatMulNBits"):
                # A product has no name of its own: it has that of the bias that is added to it.
                for adder in self.nodes:
                    bias = [each for each in adder.input if each in self.stored and each.endswith(".bias")]
                    if adder.op_type == "Add" and node.output[0] in adder.input and bias:
                        found[short(bias[0]).removesuffix("bias") + "weight"] = self.matrix(node)
        return found

    def embedding(self, name):
        """A table of embeddings, which may be stored in 8 bits and scaled after a row was taken."""
        if not name.endswith("_quantized"):
            return self.array(name)
        base = name.removesuffix("_quantized")
        values, scale, zero = (self.array(base + part).astype(np.float32) for part in ("_quantized", "_scale", "_zero_point"))
        return ((values - zero) * scale).astype(np.float32)


def save(path, tensors):
    """A safetensors file of 32-bit numbers."""
    table, data = {}, []
    for name, array in sorted(tensors.items()):
        start = sum(map(len, data))
        data.append(np.ascontiguousarray(array, dtype="<f4").tobytes())
        table[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, start + len(data[-1])]}
    header = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"".join(data))


def main():
    model, config_path, out = (pathlib.Path(argument) for argument in sys.argv[1:])
    config = json.loads(config_path.read_text(encoding="utf-8"))
    weights = Graph(model).weights()
    head = {part: weights.pop(f"classifier.{part}") for part in ("weight", "bias")}
    (out / "head").mkdir(parents=True, exist_ok=True)
    save(out / "model.safetensors", weights)
    save(out / "head" / "head.safetensors", head)
    labels = [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
    (out / "head" / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    (out / "config.json").write_text(json.dumps(config), encoding="utf-8")


if __name__ == "__main__":
    main()
