"""Rows in a batch: a model that looks at other rows of it is found out, whatever it does with them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import Made, export_here, write_spec
from onnx import TensorProto, helper
from onnx_examples import FLOAT, MATMUL, constant, make_model

from onnxpack.parity.batching import compare_batches, group_requests
from onnxpack.parity.compare import Comparison, Tolerance

MEAN = [
    helper.make_node("ReduceMean", ["x"], ["m"], axes=[0]),
    helper.make_node("Sub", ["x", "m"], ["y"]),
]
SOFTMAX = [helper.make_node("Softmax", ["x"], ["y"], axis=0)]
RUNNING_SUM = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
QUANTIZED = [
    helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
    helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
]
REVERSED = [helper.make_node("Slice", ["x", "last", "first", "rows", "back"], ["y"])]
BACKWARDS = [
    constant(name, np.array([value], np.int64))
    for name, value in (("last", -1), ("first", -(2**31)), ("rows", 0), ("back", -1))
]


def exported(folder: Path, model: onnx.ModelProto, **fields: Any) -> Made:
    onnx.save(model, folder / "m.onnx")
    return export_here(write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, **fields), folder / "out")


def compared(made: Made, least: int = 1, most: int = 16, tolerance: Tolerance | None = None) -> list[Comparison]:
    return compare_batches(made.model.path, made.reference, tolerance or Tolerance(), least, most)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        (MEAN, []),
        (SOFTMAX, []),
        (RUNNING_SUM, [constant("axis", np.array(0))]),
        (QUANTIZED, []),
        (REVERSED, BACKWARDS),
    ],
    ids=["mean", "softmax", "running sum", "scale of the whole tensor", "reversed"],
)
def test_an_answer_that_depends_on_other_rows_names_its_row(tmp_path: Path, nodes: Any, constants: Any) -> None:
    rows = compared(exported(tmp_path, make_model(nodes, constants=constants)))
    failed = [row for row in rows if row.reason]
    assert failed
    assert {row.output for row in failed} == {"y"}
    for row in failed:
        assert re.fullmatch(r"row \d+ of \w+ in a batch of (2|16) rows", row.case)


@pytest.mark.parametrize(
    "nodes",
    [MATMUL, [helper.make_node("Softmax", ["x"], ["y"], axis=1)], [helper.make_node("MatMul", ["x", "w"], ["y"])]],
)
def test_rows_that_are_answered_alone_agree_in_pairs_and_in_full_batches(tmp_path: Path, nodes: Any) -> None:
    rows = compared(exported(tmp_path, make_model(nodes, constants=[constant("w")])))
    assert [(row.case, row.reason) for row in rows] == [("2 rows", ""), ("16 rows", "")]


def test_the_worst_row_is_named(tmp_path: Path) -> None:
    """The first row of a batch is taken away from the others: it alone is right by chance, as it is 0 - 0."""
    nodes = [
        helper.make_node("Slice", ["x", "zero", "one", "zero"], ["first"]),
        helper.make_node("Sub", ["x", "first"], ["y"]),
    ]
    tensors = [constant("zero", np.array([0])), constant("one", np.array([1]))]
    rows = compared(exported(tmp_path, make_model(nodes, constants=tensors)))
    assert [row.case for row in rows if row.case.startswith("row 0 of 00_")] == []
    assert all(row.reason for row in rows)


def test_rows_join_only_those_of_their_shape_and_come_from_different_cases(tmp_path: Path) -> None:
    value = ("x", FLOAT, ["n", "seq"]), ("y", FLOAT, ["n", "seq"])
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], value[:1], value[1:])
    axes = {"n": {"min": 1, "opt": 4, "max": 16}, "seq": {"min": 1, "opt": 4, "max": 5}}
    made = exported(tmp_path, model, inputs={"x": {"dtype": "float32", "shape": ["n", "seq"]}}, dynamic_axes=axes)
    groups = group_requests(made.reference, "float32", 1)
    for requests in groups:
        assert len({inputs["x"].shape for _, inputs in requests}) == 1
        assert len(requests) > 1
        rows = [int(label.split()[1]) for label, _ in requests]
        assert rows == sorted(rows), "the first rows of all cases come before any second one"
    assert not [row for row in compared(made) if row.reason]


def test_requests_have_the_least_number_of_rows(tmp_path: Path) -> None:
    made = exported(tmp_path, make_model(MATMUL, constants=[constant("w")]), dynamic_axes={"n": {"min": 3, "max": 12}})
    assert {
        len(inputs["x"]) for requests in group_requests(made.reference, "float32", 3) for _, inputs in requests
    } == {3}
    assert [row.case for row in compared(made, 3, 12)] == ["6 rows", "12 rows"]


def test_texts_are_joined_too(tmp_path: Path) -> None:
    values = ("x", TensorProto.STRING, ["n", 1]), ("y", TensorProto.STRING, ["n", 1])
    model = make_model([helper.make_node("Identity", ["x"], ["y"])], values[:1], values[1:])
    inputs = {"x": {"dtype": "string", "shape": ["n", 1], "choices": ["a", "bb", "ccc"]}}
    assert [row.reason for row in compared(exported(tmp_path, model, inputs=inputs))] == ["", ""]


def test_a_model_that_takes_no_batch_is_told_as_such(tmp_path: Path) -> None:
    made = exported(tmp_path, make_model(MATMUL, constants=[constant("w")]))
    shape = constant("shape", np.array([1, 4]))
    single = make_model([helper.make_node("Reshape", ["x", "shape"], ["y"])], constants=[shape])
    onnx.save(single, tmp_path / "single.onnx")
    rows = compare_batches(tmp_path / "single.onnx", made.reference, Tolerance(), 1, 16)
    assert [row.what for row in rows] == ["error"]
    assert "it does not run" in rows[0].reason


def test_a_quantized_model_is_judged_by_its_noise(tmp_path: Path) -> None:
    made = exported(tmp_path, make_model(QUANTIZED))
    assert [row.reason for row in compared(made, tolerance=Tolerance.of("int8-dynamic"))] == ["", ""]


def test_one_row_alone_proves_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=np.ones((1, 4), np.float32))
    made = exported(
        tmp_path, make_model(MATMUL, constants=[constant("w")]), verify={"random": False, "samples": "one.npz"}
    )
    assert compared(made) == []
