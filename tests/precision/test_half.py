"""16 bits: what overflows or is not defined for them stays in float32, and every graph stays one graph."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from precision_examples import attention, graph_model, inputs_of, mlp, normal, place

from onnxpack.data.test_inputs import Arrays
from onnxpack.graph.check import DTYPES, open_session
from onnxpack.precision import Converted, Wish, load_precision, reduce

MAKE = helper.make_node


def halved(folder: Path, model: onnx.ModelProto, cases: list[Arrays] | None = None, name: str = "float16") -> Converted:
    path, samples = place(folder / "source", model, "mlp")
    (folder / "scratch").mkdir()
    device = "cuda" if name == "bfloat16" else "cpu"
    job = reduce.make_job(path, Wish(name, device), samples, folder / "scratch")
    if cases is not None:
        job = replace(job, cases=lambda: iter(cases))
    converted = load_precision(name).convert(job)
    onnx.checker.check_model(converted.model, full_check=True)
    return converted


def ran(converted: Converted, inputs: Arrays) -> Any:
    return open_session(converted.model.SerializeToString()).run(None, inputs)[0]


def whys(converted: Converted) -> dict[str, str]:
    return {left.node: left.why for left in converted.left}


def dtypes(converted: Converted) -> dict[str, str]:
    return {tensor.name: DTYPES[tensor.data_type] for tensor in converted.model.graph.initializer}


LOUD = [
    MAKE("MatMul", ["x", "w"], ["h"], name="quiet"),
    MAKE("Mul", ["h", "big"], ["loud"], name="amplify"),
    MAKE("MatMul", ["loud", "v"], ["sums"], name="of_loud"),
    MAKE("Div", ["sums", "huge"], ["y"], name="damp"),
]
LOUD_CONSTANTS = {"w": normal(1, 64, 64), "big": np.float32(3e4), "v": normal(2, 64, 8), "huge": np.float32(1e6)}


def test_what_overflows_stays_and_the_numbers_stay_right(tmp_path: Path) -> None:
    model = graph_model(LOUD, LOUD_CONSTANTS, x=(64,), y=(8,))
    converted = halved(tmp_path, model)
    assert whys(converted) == {
        "amplify": "values near or above 65504",
        "of_loud": "values near or above 65504",
        "damp": "a constant that float16 cannot hold",
    }
    inputs = inputs_of("mlp", 16, 3)
    (right,) = open_session(model.SerializeToString()).run(None, inputs)
    np.testing.assert_allclose(ran(converted, inputs), right, rtol=2e-2, atol=2e-3)


def test_values_that_only_calibration_data_show_count_too(tmp_path: Path) -> None:
    path, samples = place(tmp_path / "source", mlp(), "mlp")
    (tmp_path / "scratch").mkdir()
    job = reduce.make_job(path, Wish("float16"), samples, tmp_path / "scratch")
    assert not load_precision("float16").convert(job).left
    job = reduce.make_job(path, Wish("float16"), samples, tmp_path / "scratch")
    job = replace(job, batches=lambda: iter([{"x": inputs_of("mlp", 2, 1)["x"] * np.float32(1e5)}]))
    assert set(whys(load_precision("float16").convert(job))) == {"first", "bias", "relu", "last"}


def test_infinities_are_no_overflow(tmp_path: Path) -> None:
    model = attention()
    mask = next(tensor for tensor in model.graph.initializer if tensor.name == "mask")
    mask.CopyFrom(onnx.numpy_helper.from_array(np.triu(np.full((6, 6), -np.inf, np.float32), 1), "mask"))
    inputs = inputs_of("attention", 3, 1)
    converted = halved(tmp_path, model, [inputs])
    assert not converted.left
    (right,) = open_session(model.SerializeToString()).run(None, inputs)
    np.testing.assert_allclose(ran(converted, inputs), right, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("value", "fits"), [(1e-5, True), (1e-12, False), (0.0, True), (7e4, False), (65504.0, True), (np.inf, True)]
)
def test_a_constant_that_becomes_another_number_keeps_its_node(tmp_path: Path, value: float, fits: bool) -> None:
    nodes = [MAKE("MatMul", ["x", "w"], ["h"], name="first"), MAKE("Max", ["h", "c"], ["y"], name="constant")]
    constants = {"w": np.zeros((64, 4), np.float32), "c": np.float32([value if np.isfinite(value) else -value])}
    converted = halved(tmp_path, graph_model(nodes, constants, x=(64,), y=(4,)), [])
    assert whys(converted) == ({} if fits else {"constant": "a constant that float16 cannot hold"})


def test_a_weight_matrix_may_have_values_that_vanish(tmp_path: Path) -> None:
    weights = normal(1, 64, 4)
    weights[0] = 1e-12
    model = graph_model([MAKE("MatMul", ["x", "w"], ["y"], name="first")], {"w": weights}, x=(64,), y=(4,))
    assert not halved(tmp_path, model).left


def test_one_cast_serves_all_that_read_a_tensor(tmp_path: Path) -> None:
    """onnxruntime's own converter gives them one each, of one name: no valid graph."""
    nodes = [
        MAKE("MatMul", ["x", "w"], ["h"], name="first"),
        MAKE("CumSum", ["h", "axis"], ["a"], name="sum1"),
        MAKE("CumSum", ["h", "axis"], ["b"], name="sum2", reverse=1),
        MAKE("Add", ["a", "b"], ["s"], name="both"),
        MAKE("MatMul", ["s", "v"], ["y"], name="last"),
    ]
    constants = {"w": normal(1, 64, 16), "v": normal(2, 16, 4), "axis": np.array(1)}
    model = graph_model(nodes, constants, x=(64,), y=(4,))
    path, samples = place(tmp_path / "source", model, "mlp")
    (tmp_path / "scratch").mkdir()
    wish = Wish("float16", exclude_nodes=("CumSum",))
    converted = load_precision("float16").convert(reduce.make_job(path, wish, samples, tmp_path / "scratch"))
    casts = [node for node in converted.model.graph.node if node.op_type == "Cast"]
    assert len(casts) == 5  # x down, h up, a and b down, y up
    inputs = inputs_of("mlp", 3, 1)
    (right,) = open_session(model.SerializeToString()).run(None, inputs)
    np.testing.assert_allclose(ran(converted, inputs), right, rtol=2e-2, atol=2e-2)


def test_inputs_of_a_fixed_dtype_and_other_dtypes_stay(tmp_path: Path) -> None:
    nodes = [
        MAKE("Reshape", ["x", "shape"], ["image"], name="reshape"),
        MAKE("Resize", ["image", "", "scales"], ["large"], name="resize"),
        MAKE("Cast", ["large"], ["whole"], name="to_int", to=TensorProto.INT64),
        MAKE("Cast", ["whole"], ["real"], name="to_float", to=TensorProto.FLOAT),
        MAKE("Greater", ["real", "zero"], ["positive"], name="greater"),
        MAKE("Where", ["positive", "real", "large"], ["chosen"], name="where"),
        MAKE("ReduceMean", ["chosen"], ["mean"], name="mean", axes=[2, 3], keepdims=0),
        MAKE("MatMul", ["mean", "w"], ["y"], name="last"),
    ]
    constants = {
        "shape": np.array([-1, 1, 8, 8]), "scales": np.float32([1, 1, 2, 2]), "zero": np.float32(0),
        "w": normal(1, 1, 4),
    }  # fmt: skip
    model = graph_model(nodes, constants, x=(64,), y=(4,))
    converted = halved(tmp_path, model)
    assert not converted.left
    found = dtypes(converted)
    assert found["scales"] == "float32"
    assert found["shape"] == "int64"
    assert found["w__float16"] == "float16"
    inputs = inputs_of("mlp", 3, 1)
    (right,) = open_session(model.SerializeToString()).run(None, inputs)
    np.testing.assert_allclose(ran(converted, inputs), right, rtol=1e-2, atol=1e-2)


def test_graphs_inside_nodes_see_float32(tmp_path: Path) -> None:
    branches = [
        helper.make_graph(
            [MAKE("Mul", ["h", "h"] if name == "then" else ["h", "k"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    ]
    nodes = [
        MAKE("MatMul", ["x", "w"], ["h"], name="first"),
        MAKE("MatMul", ["x", "w"], ["k"], name="second"),
        MAKE("If", ["yes"], ["y"], name="if", then_branch=branches[0], else_branch=branches[1]),
    ]
    model = graph_model(nodes, {"w": normal(1, 64, 4), "yes": np.array(True)}, x=(64,), y=(4,))
    converted = halved(tmp_path, model)
    assert whys(converted) == {"if": "it holds graphs"}
    inputs = inputs_of("mlp", 3, 1)
    (right,) = open_session(model.SerializeToString()).run(None, inputs)
    np.testing.assert_allclose(ran(converted, inputs), right, rtol=1e-2, atol=1e-2)


def test_operators_of_the_runtime_are_converted_by_its_own_definitions(tmp_path: Path) -> None:
    nodes = [
        MAKE("FusedMatMul", ["x", "w"], ["h"], name="fused", domain="com.microsoft", alpha=0.5),
        MAKE("Gelu", ["h"], ["g"], name="gelu", domain="com.microsoft"),
    ]
    model = graph_model(nodes, {"w": normal(1, 64, 4)}, x=(64,), y=(4,))
    model.graph.node[-1].output[0] = "y"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    converted = halved(tmp_path, model)
    assert not converted.left
    assert dtypes(converted) == {"w__float16": "float16"}


def test_bfloat16_is_rounded_to_nearest_and_computes_the_same_elsewhere(tmp_path: Path) -> None:
    model = mlp()
    converted = halved(tmp_path, model, name="bfloat16")
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in converted.model.graph.initializer}
    source = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, array in source.items():
        bits = array.view(np.uint32)
        nearest = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
        assert np.array_equal(weights[f"{name}__bfloat16"].astype(np.float32), nearest)
    inputs = inputs_of("mlp", 4, 1)
    (right,) = open_session(model.SerializeToString()).run(None, inputs)
    (got,) = ReferenceEvaluator(converted.model).run(None, inputs)
    np.testing.assert_allclose(got, right, rtol=5e-2, atol=1e-1)


def test_an_operator_without_bfloat16_stays(tmp_path: Path) -> None:
    nodes = [
        MAKE("MatMul", ["x", "w"], ["h"], name="first"),
        MAKE("Reshape", ["h", "shape"], ["image"], name="reshape"),
        MAKE("Conv", ["image", "k"], ["c"], name="conv"),
        MAKE("Flatten", ["c"], ["y"], name="flat"),
    ]
    constants = {"w": normal(1, 64, 16), "shape": np.array([-1, 1, 4, 4]), "k": normal(2, 2, 1, 3, 3)}
    converted = halved(tmp_path, graph_model(nodes, constants, x=(64,), y=(8,)), name="bfloat16")
    assert whys(converted) == {"conv": "the operator is not defined for it"}
