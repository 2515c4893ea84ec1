"""Brings one ONNX file, its axes fixed or dynamic, to every opset of the table; without arguments, lists them."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from exported import row
from onnx import helper, numpy_helper

OPSETS = (13, 17, 20, 26)
"""The last is the runtime's highest."""
BATCH = 4
Made = tuple[list[onnx.NodeProto], dict[str, Any], list[int], list[int]]
"""Nodes, weights, and what is behind the batch axis in the input and in the output."""


def main() -> None:
    """Arguments: the file, its exporter, ``static`` or ``dynamic``, and the opsets; a JSON line for each."""
    if not sys.argv[1:]:
        print(json.dumps([[name, "onnx", OPSETS] for name in FILES]))
        return
    name, exporter, axes, *opsets = sys.argv[1:]
    for opset in map(int, opsets):
        about = {"source": "onnx", "model": name, "exporter": exporter, "axes": axes, "opset": opset}
        print(json.dumps(row(about, partial(_spec, name, axes, opset))), flush=True)


def _spec(name: str, axes: str, opset: int, folder: Path) -> dict[str, Any]:
    make, version, options = FILES[name]
    nodes, weights, shape, answer = make()
    first = BATCH if axes == "static" or options.get("fixed") else "N"
    values = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [first, *shape]),
              helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [first, *answer])]  # fmt: skip
    constants = [numpy_helper.from_array(array, key) for key, array in weights.items()]
    graph = helper.make_graph(nodes, name, values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    onnx.save(model, folder / "model.onnx", save_as_external_data=options.get("outside", False), location="model.data",
              size_threshold=0)  # fmt: skip
    batch = BATCH if axes == "static" else "batch"
    spec: dict[str, Any] = {
        "model": {"framework": "onnx", "path": "model.onnx"},
        "inputs": {"x": {"dtype": "float32", "shape": [batch, *shape]}},
        "opset": opset,
    }
    return spec | ({"dynamic_axes": {"batch": [1, 9]}} if axes == "dynamic" else {})


def _random(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32) / 2


def _mlp() -> Made:
    node = helper.make_node
    nodes = [node("Gemm", ["x", "w", "b"], ["h"]), node("Relu", ["h"], ["r"]), node("Gemm", ["r", "v", "c"], ["y"])]
    return nodes, {"w": _random(8, 16), "b": _random(16), "v": _random(16, 4), "c": _random(4)}, [8], [4]


def _cnn() -> Made:
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", "one", "zero", "zero", "one"], ["n"]),
        node("MaxPool", ["n"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["m"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "v", "c"], ["l"]),
        node("Softmax", ["l"], ["y"], axis=1),
    ]
    weights = {"w": _random(6, 3, 3, 3), "one": np.ones(6, np.float32), "zero": np.zeros(6, np.float32),
               "v": _random(6, 5), "c": _random(5)}  # fmt: skip
    return nodes, weights, [3, 16, 16], [5]


def _attention() -> Made:
    node = helper.make_node
    nodes = [
        node("LayerNormalization", ["x", "one", "zero"], ["n"], axis=-1),
        node("MatMul", ["n", "q"], ["a"]),
        node("Transpose", ["n"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["a", "t"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=-1),
        node("MatMul", ["p", "n"], ["y"]),
    ]
    return nodes, {"q": _random(8, 8), "one": np.ones(8, np.float32), "zero": np.zeros(8, np.float32)}, [5, 8], [5, 8]


FILES: dict[str, tuple[Callable[[], Made], int, dict[str, bool]]] = {
    "Gemm of opset 7": (_mlp, 7, {}),
    "Conv of opset 9": (_cnn, 9, {}),
    "Gemm of opset 13, external data": (_mlp, 13, {"outside": True}),
    "attention of opset 17": (_attention, 17, {}),
    "Conv of opset 9, fixed batch": (_cnn, 9, {"fixed": True}),
}
"""How each is made, its opset, and what is special in it."""


if __name__ == "__main__":
    main()
