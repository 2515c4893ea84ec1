"""Small models with seeded weights, and the samples that the pipeline would give for them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxpack.core.artifacts import Artifact
from onnxpack.core.values import Reference
from onnxpack.data.test_inputs import Arrays, write_arrays
from onnxpack.precision import Samples

FLOAT = TensorProto.FLOAT
INPUTS: dict[str, tuple[int, ...]] = {"mlp": (64,), "cnn": (4, 12, 12), "attention": (6, 32)}


def graph_model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Any],
    *,
    x: tuple[int | str, ...],
    y: tuple[int | str, ...],
    opset: int = 17,
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", FLOAT, ["batch", *x])]
    outputs = [helper.make_tensor_value_info("y", FLOAT, ["batch", *y])]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "example", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def normal(seed: int, *shape: int) -> Any:
    scale = np.sqrt(2 / np.prod(shape[1:] if len(shape) == 4 else shape[:1]))
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def mlp(opset: int = 17) -> onnx.ModelProto:
    constants: dict[str, Any] = {"w1": normal(1, 64, 96), "b1": normal(2, 96), "w2": normal(3, 10, 96).T.copy().T}
    constants["b2"] = normal(4, 10)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        helper.make_node("Add", ["h", "b1"], ["a"], name="bias"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="last", transB=1),
    ]
    return graph_model(nodes, constants, x=(64,), y=(10,), opset=opset)


def cnn(opset: int = 17) -> onnx.ModelProto:
    constants: dict[str, Any] = {
        "w1": normal(1, 16, 4, 3, 3), "b1": normal(2, 16),
        "w2": normal(3, 32, 16, 3, 3), "b2": normal(4, 32),
        "scale": np.linspace(0.5, 1.5, 32, dtype=np.float32), "shift": normal(5, 32),
        "mean": normal(6, 32), "var": np.linspace(0.5, 2, 32, dtype=np.float32),
        "w3": normal(7, 32, 10), "b3": normal(8, 10),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c2", "scale", "shift", "mean", "var"], ["n2"], name="norm"),
        helper.make_node("Relu", ["n2"], ["r2"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="last"),
    ]
    return graph_model(nodes, constants, x=(4, 12, 12), y=(10,), opset=opset)


def attention(opset: int = 17) -> onnx.ModelProto:
    """One head on six tokens, a layer norm and a mask of the kind that frameworks write: -3.4e38."""
    constants: dict[str, Any] = {f"w{part}": normal(part, 32, 32) for part in range(4)}
    constants["root"] = np.float32(np.sqrt(32))
    constants["mask"] = np.triu(np.full((6, 6), np.finfo(np.float32).min, np.float32), 1)
    constants |= {"gain": np.ones(32, np.float32), "shift": normal(9, 32)}
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["n"], name="norm"),
        helper.make_node("MatMul", ["n", "w0"], ["q"], name="query"),
        helper.make_node("MatMul", ["n", "w1"], ["k"], name="key"),
        helper.make_node("MatMul", ["n", "w2"], ["v"], name="value"),
        helper.make_node("Transpose", ["k"], ["kt"], name="turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["s"], name="scores"),
        helper.make_node("Div", ["s", "root"], ["d"], name="scale"),
        helper.make_node("Add", ["d", "mask"], ["m"], name="masked"),
        helper.make_node("Softmax", ["m"], ["p"], name="softmax"),
        helper.make_node("MatMul", ["p", "v"], ["c"], name="context"),
        helper.make_node("MatMul", ["c", "w3"], ["o"], name="out"),
        helper.make_node("Add", ["o", "x"], ["y"], name="residual"),
    ]
    return graph_model(nodes, constants, x=(6, 32), y=(6, 32), opset=opset)


MODELS = {"mlp": mlp, "cnn": cnn, "attention": attention}


def inputs_of(kind: str, rows: int, seed: int) -> Arrays:
    return {"x": np.random.default_rng(seed).standard_normal((rows, *INPUTS[kind])).astype(np.float32)}


def place(folder: Path, model: onnx.ModelProto, kind: str) -> tuple[Path, Samples]:
    """The model's file and a Reference of two cases beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "float32.onnx")
    for rows in (1, 5):
        write_arrays(folder / f"rows{rows}.inputs.npz", inputs_of(kind, rows, rows))
    reference = Reference(Artifact(folder, "reference"), ("rows1", "rows5"))
    return folder / "float32.onnx", Samples(reference)
