"""Operators of opset 1 to 6: what runs the file, and the same graph at opset 7, give what the definitions say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_examples import FLOAT, constant, make_model

from onnxpack.core.errors import SourceError
from onnxpack.graph.check import open_session
from onnxpack.graph.convert import ConvertOpset, find_nearest_opset, make_conversion_passes
from onnxpack.graph.evaluate import Evaluator
from onnxpack.graph.passes import PassError, run_passes
from onnxpack.graph.tidy import DropConstantInputs
from onnxpack.graph.upgrade import UpgradeToOpset7

Array = np.ndarray[Any, Any]
MAKE = helper.make_node


def normal(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


X = normal(2, 3, 3, 3)
W = normal(3) + 2
SMALL = normal(2, 3)
SQUARE = normal(3, 3)


def old(node: onnx.NodeProto, x: Array, opset: int, weights: dict[str, Array], expected: Array = X) -> onnx.ModelProto:
    """One node that reads ``x`` and constants, in a file as it was written then: IR 3, constants among the inputs."""
    values = [("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)]
    values += [(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in weights.items()]
    kind = helper.np_dtype_to_tensor_dtype(expected.dtype)
    outputs = [(name, kind, [f"{name}_{axis}" for axis in range(expected.ndim)]) for name in node.output]
    constants = [constant(name, array) for name, array in weights.items()]
    return make_model([node], values, outputs, constants, opset=opset, ir=3)


def upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    made = run_passes(model, (DropConstantInputs(), UpgradeToOpset7())).model
    onnx.checker.check_model(made, full_check=True)
    return made


def per_channel(array: Array) -> Array:
    return array.reshape(-1, 1, 1)


def normalized(scale: Array, bias: Array, mean: Array, var: Array, epsilon: float) -> Array:
    return scale * (X - mean) / np.sqrt(var + epsilon) + bias


CHANNELS = {"s": W, "b": normal(3), "m": normal(3) / 2, "v": np.abs(normal(3)) + 1}
EACH = {name: np.abs(normal(3, 3, 3)) + index for index, name in enumerate("sbmv")}
NORMAL = ["x", "s", "b", "m", "v"]
CASES: dict[str, tuple[onnx.NodeProto, int, Array, dict[str, Array], Array]] = {
    "add along the first axis": (
        MAKE("Add", ["x", "w"], ["y"], broadcast=1, axis=0), 6, SQUARE, {"w": W}, SQUARE + W[:, None]),
    "sub along a middle axis": (
        MAKE("Sub", ["x", "w"], ["y"], broadcast=1, axis=1), 6, X, {"w": W}, X - per_channel(W)),
    "mul along two axes": (
        MAKE("Mul", ["x", "w"], ["y"], broadcast=1, axis=1), 5, X, {"w": SQUARE}, X * SQUARE[:, :, None]),
    "div along the last axes": (MAKE("Div", ["x", "w"], ["y"], broadcast=1), 6, X, {"w": W}, X / W),
    "div of whole numbers": (
        MAKE("Div", ["x", "w"], ["y"]), 6, np.array([-7, 7, 9], np.int32), {"w": np.array([2, 2, 3], np.int32)},
        np.array([-3, 3, 3], np.int32)),
    "add with consumed inputs": (
        MAKE("Add", ["x", "w"], ["y"], broadcast=1, axis=1, consumed_inputs=[0, 0]), 1, X, {"w": W},
        X + per_channel(W)),
    "pow along a middle axis": (
        MAKE("Pow", ["x", "w"], ["y"], broadcast=1, axis=1), 6, np.abs(X), {"w": W}, np.abs(X) ** per_channel(W)),
    "prelu of channels": (
        MAKE("PRelu", ["x", "w"], ["y"]), 6, X, {"w": W}, np.where(X > 0, X, X * per_channel(W))),
    "prelu of one slope": (MAKE("PRelu", ["x", "w"], ["y"]), 6, X, {"w": W[:1]}, np.where(X > 0, X, X * W[0])),
    "prelu of a matrix": (MAKE("PRelu", ["x", "w"], ["y"]), 6, SMALL, {"w": W}, np.where(SMALL > 0, SMALL, SMALL * W)),
    "gemm": (
        MAKE("Gemm", ["x", "w", "c"], ["y"], alpha=0.5, beta=2.0, transB=1, broadcast=1), 6, SMALL,
        {"w": SQUARE, "c": W}, 0.5 * SMALL @ SQUARE.T + 2 * W),
    "gemm without broadcast": (
        MAKE("Gemm", ["x", "w", "c"], ["y"], beta=2.0), 6, SMALL, {"w": SQUARE, "c": SMALL},
        SMALL @ SQUARE + 2 * SMALL),
    "normalization of channels": (
        MAKE("BatchNormalization", NORMAL, ["y"], is_test=1, epsilon=0.1), 6, X, CHANNELS,
        normalized(*map(per_channel, CHANNELS.values()), 0.1)),
    "normalization of opset 1": (
        MAKE("BatchNormalization", NORMAL, ["y"], is_test=1, consumed_inputs=[0, 0, 0, 1, 1]), 1, X, CHANNELS,
        normalized(*map(per_channel, CHANNELS.values()), 1e-5)),
    "normalization of each value": (
        MAKE("BatchNormalization", NORMAL, ["y"], is_test=1, spatial=0, epsilon=0.5), 6, X, EACH,
        normalized(*EACH.values(), 0.5)),
    "dropout": (MAKE("Dropout", ["x"], ["y"], is_test=1, ratio=0.9), 6, X, {}, X),
    "cast to a word": (MAKE("Cast", ["x"], ["y"], to="INT32"), 5, X * 9, {}, (X * 9).astype(np.int32)),
    "concat without an axis": (MAKE("Concat", ["x", "w"], ["y"]), 3, SMALL, {"w": SMALL}, np.hstack([SMALL, SMALL])),
    "reshape by an attribute": (MAKE("Reshape", ["x"], ["y"], shape=[0, -1]), 4, X, {}, X.reshape(2, 27)),
    "split by an input": (
        MAKE("Split", ["x", "w"], ["y", "z"], axis=1), 1, SMALL, {"w": np.array([1, 2], np.float32)}, SMALL[:, :1]),
    "tile along one axis": (
        MAKE("Tile", ["x", "w", "c"], ["y"]), 5, SMALL,
        {"w": np.array([3], np.float32), "c": np.array([1], np.float32)}, np.hstack([SMALL] * 3)),
    "pad": (MAKE("Pad", ["x"], ["y"], paddings=[0, 1, 2, 0], value=5.0), 1, SMALL, {},
            np.pad(SMALL, [(0, 2), (1, 0)], constant_values=5)),
    "upsample nearest": (
        MAKE("Upsample", ["x"], ["y"], height_scale=2.0, width_scale=3.0), 6, X, {}, X.repeat(2, 2).repeat(3, 3)),
    "global pool of a real power": (
        MAKE("GlobalLpPool", ["x"], ["y"], p=3.0), 1, X, {}, (np.abs(X) ** 3).sum((2, 3), keepdims=True) ** (1 / 3)),
    "selu of opset 1": (
        MAKE("Selu", ["x"], ["y"]), 1, X, {}, 1.0507 * np.where(X > 0, X, 1.6732 * (np.exp(X) - 1))),
    "clip with consumed inputs": (
        MAKE("Clip", ["x"], ["y"], min=-0.5, max=0.5, consumed_inputs=[0]), 1, X, {}, X.clip(-0.5, 0.5)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_old_operator_is_evaluated_and_upgraded_as_defined(name: str) -> None:
    node, opset, x, weights, expected = CASES[name]
    model = old(node, x, opset, weights, expected)
    before = model.SerializeToString()
    np.testing.assert_allclose(Evaluator(model).run({"x": x})[0], expected, rtol=1e-5, atol=1e-5)
    assert model.SerializeToString() == before
    actual = open_session(upgraded(model).SerializeToString()).run(None, {"x": x})[0]
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Greater", "Less", "Equal", "And", "Or", "Xor"])
def test_old_comparison_along_an_axis_is_evaluated_and_upgraded(name: str) -> None:
    function: Callable[..., Array] = getattr(np, {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}.get(
        name, name.lower()))  # fmt: skip
    kinds = (bool, bool) if name in ("And", "Or", "Xor") else (np.int32, np.int32) if name == "Equal" else ("f4", "f4")
    x, w = ((np.round(array) > 0 if kind is bool else np.round(array)).astype(kind)
            for array, kind in zip((X, normal(3)), kinds, strict=True))  # fmt: skip
    expected = function(x, per_channel(w))
    model = old(MAKE(name, ["x", "w"], ["y"], broadcast=1, axis=1), x, 6, {"w": w}, expected)
    assert expected.any()
    assert not expected.all()
    np.testing.assert_array_equal(Evaluator(model).run({"x": x})[0], expected)
    np.testing.assert_array_equal(open_session(upgraded(model).SerializeToString()).run(None, {"x": x})[0], expected)


def test_old_lstm_is_evaluated_and_upgraded_alike() -> None:
    weights = {"w": normal(2, 8, 3), "r": normal(2, 8, 2)}
    node = MAKE("LSTM", ["x", "w", "r"], ["y"], hidden_size=2, direction="bidirectional", output_sequence=1,
                activations=["Sigmoid", "Tanh", "Relu"] * 2)  # fmt: skip
    x = normal(5, 2, 3)
    model = old(node, x, 6, weights)
    expected = Evaluator(model).run({"x": x})
    actual = open_session(upgraded(model).SerializeToString()).run(None, {"x": x})
    assert expected[0].shape == (5, 2, 2, 2)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-5, atol=1e-5)


def test_operator_inside_a_branch_is_upgraded() -> None:
    branches = {}
    for branch, name in (("then_branch", "Add"), ("else_branch", "Sub")):
        node = MAKE(name, ["x", "w"], [name], broadcast=1, axis=0)
        branches[branch] = helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, FLOAT, [3, 3])])
    values = [("x", FLOAT, [3, 3]), ("w", FLOAT, [3]), ("c", TensorProto.BOOL, [])]
    model = make_model([MAKE("If", ["c"], ["y"], **branches)], values, [("y", FLOAT, [3, 3])], opset=6, ir=3)
    inputs = {"x": SQUARE, "w": W, "c": np.array(False)}
    expected = SQUARE - W[:, None]
    np.testing.assert_allclose(Evaluator(model).run(inputs)[0], expected)
    np.testing.assert_allclose(open_session(upgraded(model).SerializeToString()).run(None, inputs)[0], expected)


@pytest.mark.parametrize(
    ("node", "opset", "weights", "words"),
    [
        (
            MAKE("Dropout", ["x"], ["y"], name="drop"),
            6,
            {},
            "the node 'drop' (Dropout) cannot be brought to opset 7",
        ),
        (MAKE("BatchNormalization", NORMAL, ["y"]), 6, CHANNELS, "the node BatchNormalization that gives 'y'"),
        (MAKE("GlobalLpPool", ["x"], ["y"], p=2.5), 1, {}, "its p is 2.5, and opset 7 takes whole numbers only"),
    ],
    ids=["dropout", "normalization", "power"],
)
def test_what_opset_7_cannot_say_names_the_node(
    node: onnx.NodeProto, opset: int, weights: dict[str, Array], words: str
) -> None:
    with pytest.raises(SourceError) as refused:
        upgraded(old(node, X, opset, weights))
    (problem,) = refused.value.problems
    assert words in problem.message
    assert problem.hint


def test_upgrade_of_a_file_with_constant_inputs_is_refused_before_it_starts() -> None:
    with pytest.raises(PassError, match="before the graph pass UpgradeToOpset7: IR version 3"):
        run_passes(old(MAKE("Neg", ["x"], ["y"]), X, 6, {}), (UpgradeToOpset7(),))


def test_evaluator_failure_names_the_node() -> None:
    model = old(MAKE("Add", ["x", "w"], ["y"]), X, 6, {"w": normal(5)})
    with pytest.raises(SourceError, match="fails at the node Add that gives 'y'"):
        Evaluator(model).run({"x": X})


@pytest.mark.parametrize("axis", [0, 1, 2, 3, None])
def test_hardmax_keeps_its_meaning_over_opset_13(axis: int | None) -> None:
    node = MAKE("Hardmax", ["x"], ["y"], **({} if axis is None else {"axis": axis}))
    model = make_model([node], [("x", FLOAT, ["b", 3, 3, 3])], [("y", FLOAT, None)], opset=11)
    expected = open_session(model.SerializeToString()).run(None, {"x": X})[0]
    made = run_passes(model, make_conversion_passes(11, 17)).model
    np.testing.assert_array_equal(open_session(made.SerializeToString()).run(None, {"x": X})[0], expected)


@pytest.mark.parametrize(("op", "opset"), [("Upsample", 7), ("Upsample", 9), ("Resize", 10)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scale", [1.5, 2.0, 3.0])
def test_resize_keeps_its_grid_over_opset_11(op: str, opset: int, mode: str, scale: float) -> None:
    scales = np.array([1, 1, scale, 2], np.float32)
    node = MAKE(op, ["x", "s"], ["y"], mode=mode) if opset > 8 else MAKE(op, ["x"], ["y"], mode=mode, scales=scales)
    constants = [constant("s", scales)] if opset > 8 else []
    model = make_model([node], [("x", FLOAT, ["b", 3, 3, 3])], [("y", FLOAT, None)], constants, opset=opset)
    expected = open_session(model.SerializeToString()).run(None, {"x": X})[0]
    made = run_passes(model, make_conversion_passes(opset, 17)).model
    np.testing.assert_allclose(
        open_session(made.SerializeToString()).run(None, {"x": X})[0], expected, rtol=1e-5, atol=1e-6
    )


def test_nearest_opset_is_the_highest_that_the_converter_reaches() -> None:
    node = MAKE("BatchNormalization", NORMAL, ["y"], spatial=0)
    values = [("x", FLOAT, ["b", 3, 3, 3]), *((name, FLOAT, [3, 3, 3]) for name in "sbmv")]
    model = make_model([node], values, [("y", FLOAT, ["b", 3, 3, 3])], opset=7)
    with pytest.raises(SourceError, match="the model's opset 7 cannot be converted to 17: ") as refused:
        run_passes(model, (ConvertOpset(17),))
    assert refused.value.problems[0].hint == "set `opset: 8`"
    assert find_nearest_opset(model, 17) == 8
    assert run_passes(model, (ConvertOpset(8),)).modified == ("ConvertOpset",)
