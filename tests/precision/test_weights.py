"""Packed weights and products as they run: every form of a Gemm, and the numbers of the operators."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from precision_examples import graph_model, inputs_of, mlp, normal, place

from onnxpack.graph.check import open_session
from onnxpack.graph.passes import run_passes
from onnxpack.precision import Converted, Wish, load_precision, reduce
from onnxpack.precision.edit import DropUnused, SortNodes, SplitGemms
from onnxpack.precision.int8_dynamic import quantize_matrix
from onnxpack.precision.weights import choose_block_size

MAKE = helper.make_node


def converted(folder: Path, model: onnx.ModelProto, name: str, **wish: Any) -> Converted:
    path, samples = place(folder / "source", model, "mlp")
    (folder / "scratch").mkdir()
    job = reduce.make_job(path, Wish(name, **wish), samples, folder / "scratch")
    found = load_precision(name).convert(job)
    onnx.checker.check_model(found.model)
    return found


def ran(model: onnx.ModelProto) -> Any:
    return open_session(model.SerializeToString()).run(None, inputs_of("mlp", 5, 1))[0]


GEMMS: list[tuple[dict[str, Any], list[str], bool]] = [
    ({}, ["x", "w"], True),
    ({}, ["x", "w", "c"], True),
    ({"transB": 1}, ["x", "wt", "c"], True),
    ({"alpha": 0.5, "beta": 2.0}, ["x", "w", "c"], True),
    ({"alpha": 0.5, "transB": 1}, ["x", "wt"], True),
    ({"beta": 0.5}, ["x", "w", "moving"], False),
    ({"beta": 1.0}, ["x", "w", "moving"], True),
    ({"transA": 1}, ["xt", "w", "c"], False),
]


@pytest.mark.parametrize(("attributes", "inputs", "splits"), GEMMS)
def test_every_form_of_a_gemm_keeps_its_value(attributes: dict[str, Any], inputs: list[str], splits: bool) -> None:
    nodes = [
        MAKE("Transpose", ["x"], ["xt"], name="turn", perm=[1, 0]),
        MAKE("ReduceMean", ["x"], ["moving"], name="mean", axes=[1]),
        MAKE("Gemm", inputs, ["y"], name="gemm", **attributes),
    ]
    weight = normal(1, 64, 8)
    model = graph_model(nodes, {"w": weight, "wt": weight.T.copy(), "c": normal(2, 8)}, x=(64,), y=(8,))
    right = ran(model)
    run_passes(model, (SplitGemms(frozenset()), DropUnused()))
    onnx.checker.check_model(model)
    ops = [node.op_type for node in model.graph.node]
    assert ("Gemm" not in ops) == splits
    np.testing.assert_allclose(ran(model), right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("device", "level"), [("cpu", 4), ("cuda", None)])
def test_the_cpu_computes_packed_weights_in_int8(tmp_path: Path, device: str, level: int | None) -> None:
    """Without ``accuracy_level=4`` they are slower than float32."""
    model = converted(tmp_path, mlp(), "int4-weights", device=device).model
    packed = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    assert len(packed) == 2
    for node in packed:
        levels = [item.i for item in node.attribute if item.name == "accuracy_level"]
        assert levels == ([] if level is None else [level])


@pytest.mark.parametrize(
    ("rows", "bits", "block"),
    [(64, 4, 32), (96, 8, 32), (1024, 8, 128), (48, 4, 16), (100, 4, 32), (20, 8, 16), (192, 8, 64)],
)
def test_blocks_fit_the_rows(rows: int, bits: int, block: int) -> None:
    assert choose_block_size(rows, bits) == block


@pytest.mark.parametrize("rows", [16, 17, 33, 64, 100])
@pytest.mark.parametrize("bits", [4, 8])
def test_packed_weights_are_the_weights(tmp_path: Path, rows: int, bits: int) -> None:
    """With unit vectors as inputs the operator gives the weights themselves."""
    weight = normal(rows, rows, 8)
    model = graph_model([MAKE("MatMul", ["x", "w"], ["y"], name="only")], {"w": weight}, x=(rows,), y=(8,))
    path, samples = place(tmp_path, model, "mlp")
    (tmp_path / "scratch").mkdir()
    wish = Wish(f"int{bits}-weights", "cuda")
    done = load_precision(f"int{bits}-weights").convert(reduce.make_job(path, wish, samples, tmp_path / "scratch"))
    (got,) = open_session(done.model.SerializeToString()).run(None, {"x": np.eye(rows, dtype=np.float32)})
    step = (weight.max() - weight.min()) / (2**bits - 1)
    assert np.abs(got - weight).max() <= step


def test_weights_that_two_products_share_are_packed_once(tmp_path: Path) -> None:
    nodes = [
        MAKE("MatMul", ["x", "w"], ["h"], name="first"),
        MAKE("MatMul", ["h", "w"], ["y"], name="second"),
    ]
    for name in ("int4-weights", "int8-weights", "int8-dynamic"):
        model = graph_model(nodes, {"w": normal(1, 64, 64)}, x=(64,), y=(64,))
        names = [tensor.name for tensor in converted(tmp_path / name, model, name).model.graph.initializer]
        assert len(names) == len(set(names))
        assert "w" not in names
        assert len([name for name in names if "scale" in name]) == 1


def test_narrow_products_stay(tmp_path: Path) -> None:
    nodes = [MAKE("MatMul", ["x", "w"], ["h"], name="wide"), MAKE("MatMul", ["h", "v"], ["y"], name="narrow")]
    model = graph_model(nodes, {"w": normal(1, 64, 8), "v": normal(2, 8, 4)}, x=(64,), y=(4,))
    left = converted(tmp_path, model, "int4-weights").left
    assert [(item.node, item.why) for item in left] == [("narrow", "fewer than 16 rows of weights")]


def test_constants_in_nodes_are_weights_too(tmp_path: Path) -> None:
    model = mlp()
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    model.graph.node.insert(0, MAKE("Constant", [], ["w1"], name="constant", value=weight))
    model.graph.initializer.remove(weight)
    ops = [node.op_type for node in converted(tmp_path, model, "int8-weights").model.graph.node]
    assert ops.count("MatMulNBits") == 2


@pytest.mark.parametrize(("reduced", "limit"), [(True, 64), (False, 127)])
def test_dynamic_weights_are_symmetric_and_within_half_a_step(reduced: bool, limit: int) -> None:
    matrix = normal(1, 64, 8) * np.arange(8, dtype=np.float32)  # the first column is zero
    values, scale = quantize_matrix(matrix, True, reduced)
    assert values.dtype == np.int8
    assert np.abs(values.astype(int)).max() == limit
    assert (np.abs(values * scale - matrix) <= scale * 0.5001).all()
    values, scale = quantize_matrix(matrix, False, reduced)
    assert scale.shape == ()


@pytest.mark.parametrize(("isa", "limit"), [(None, 64), ("avx2", 64), ("avx512", 64), ("amx", 127), ("neon", 127)])
def test_dynamic_weights_have_seven_bits_where_sums_saturate(tmp_path: Path, isa: str | None, limit: int) -> None:
    model = converted(tmp_path, mlp(), "int8-dynamic", isa=isa).model
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.data_type == 3]
    assert {np.abs(array.astype(int)).max() for array in weights} == {limit}


def test_inputs_that_several_products_read_are_quantized_once(tmp_path: Path) -> None:
    from precision_examples import attention

    ops = [node.op_type for node in converted(tmp_path, attention(), "int8-dynamic").model.graph.node]
    assert (ops.count("MatMulInteger"), ops.count("DynamicQuantizeLinear")) == (4, 2)


def test_nodes_are_put_in_order() -> None:
    model = mlp()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    run_passes(model, (SortNodes(),))
    assert [node.name for node in model.graph.node] == ["first", "bias", "relu", "last"]
