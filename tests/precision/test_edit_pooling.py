"""A Relu behind its MaxPool: the same numbers, and a pooling that stays in float32."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpack.graph.check import open_session
from onnxpack.graph.passes import run_passes
from onnxpack.precision.edit import PoolBeforeRelu, SortNodes

RELU = helper.make_node("Relu", ["c"], ["r"])
POOL = helper.make_node("MaxPool", ["r"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])


def stem(*more: onnx.NodeProto, outputs: str = "y", pool: onnx.NodeProto = POOL) -> onnx.ModelProto:
    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), RELU, pool, *more]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8, None, None]) for name in outputs]
    graph = helper.make_graph(nodes, "stem", [x], values, [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_the_numbers_are_the_same(tmp_path: Path) -> None:
    model = stem()
    x = {"x": np.random.default_rng(1).standard_normal((2, 3, 12, 12)).astype(np.float32)}
    (expected,) = open_session(model.SerializeToString()).run(None, x)
    run_passes(model, (PoolBeforeRelu(), SortNodes()))
    onnx.checker.check_model(model)
    assert ops(model) == ["Conv", "MaxPool", "Relu"]
    (actual,) = open_session(model.SerializeToString()).run(None, x)
    assert expected.max() > 0
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "model",
    [
        stem(helper.make_node("Neg", ["r"], ["z"]), outputs="yz"),
        stem(outputs="yr"),
        stem(pool=helper.make_node("MaxPool", ["r"], ["y", "where"], kernel_shape=[2, 2])),
    ],
    ids=["read by another", "an output", "with places"],
)
def test_what_others_see_stays(model: Any) -> None:
    before = ops(model)
    run_passes(model, (PoolBeforeRelu(), SortNodes()))
    assert ops(model) == before
