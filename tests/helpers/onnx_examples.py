"""Tiny ONNX models, whole or broken in one way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
Value = tuple[str, int, Sequence[int | str] | None]

RELU = [helper.make_node("Relu", ["x"], ["y"])]
MATMUL = [helper.make_node("MatMul", ["x", "w"], ["y"])]
WEIGHTS = np.arange(16, dtype=np.float32).reshape(4, 4)


def make_model(
    nodes: list[onnx.NodeProto],
    inputs: Sequence[Value] = (("x", FLOAT, ["b", 4]),),
    outputs: Sequence[Value] = (("y", FLOAT, ["b", 4]),),
    constants: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 17,
    ir: int = 10,
    domains: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """Make a model that nothing has checked."""
    values = [[helper.make_tensor_value_info(*value) for value in part] for part in (inputs, outputs)]
    graph = helper.make_graph(nodes, "example", *values, list(constants))
    versions = {"": opset, **(domains or {})}
    imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir)


def constant(name: str, array: Any = WEIGHTS) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def external_model(**entries: Any) -> onnx.ModelProto:
    """``y = x @ w`` whose 64 bytes of ``w`` lie where ``entries`` say."""
    tensor = constant("w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return make_model(MATMUL, constants=[tensor])
