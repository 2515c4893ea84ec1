"""The gate sees every kind of difference, and cannot pass without comparing."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import helper
from onnx_examples import FLOAT, make_model

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError, SourceError
from onnxpack.core.values import Reference
from onnxpack.data.test_inputs import write_arrays
from onnxpack.parity.compare import (
    Comparison,
    Tolerance,
    choose_tolerance,
    compare,
    compare_case,
    compare_cases,
    format_comparisons,
    require_parity,
    verify_model,
)

RTOL, ATOL = 1e-3, 1e-4
X = np.array([[1.0, 2.0], [3.0, -4.0], [0.5, 0.0]], np.float32)


def reference(folder: Path, *cases: str) -> Reference:
    return Reference(Artifact.of(folder), cases)


def verified(folder: Path, nodes: list[onnx.NodeProto], outputs: Any, expected: dict[str, Any]) -> list[Comparison]:
    """Judge a model of ``x`` against what its source is said to have answered for ``X``."""
    onnx.save(make_model(nodes, [("x", FLOAT, ["n", 2])], outputs), folder / "m.onnx")
    write_arrays(folder / "case.inputs.npz", {"x": X})
    write_arrays(folder / "case.outputs.npz", expected)
    return verify_model(folder / "m.onnx", reference(folder, "case"), Tolerance(RTOL, ATOL))


TWICE = [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
Y, Z = ("y", FLOAT, ["n", 2]), ("z", FLOAT, ["n", 2])
RIGHT = {"y": 2 * X, "z": -X}


def test_what_agrees_passes_with_its_differences(tmp_path: Path) -> None:
    rows = verified(tmp_path, TWICE, [Y, Z], {"y": 2 * X + np.float32(1e-5), "z": -X})
    require_parity("same", rows)
    assert [(row.case, row.output, row.reason) for row in rows] == [("case", "y", ""), ("case", "z", "")]
    assert rows[0].max_abs_diff == pytest.approx(1e-5, rel=0.1)
    assert rows[1].max_abs_diff == 0


def changed(array: Any, index: tuple[int, ...], value: float) -> Any:
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        (RIGHT | {"y": changed(2 * X, (1, 1), -8.1)}, "1 of 6 values differ"),
        (RIGHT | {"y": 3 * X + 1}, "6 of 6 values differ"),
        (RIGHT | {"y": changed(2 * X, (0, 0), np.nan)}, "NaN in 1 other places"),
        (RIGHT | {"y": changed(2 * X, (0, 0), np.inf)}, "infinite in other places"),
        (RIGHT | {"y": (2 * X).astype(np.float64)}, "dtype float32 instead of float64"),
        (RIGHT | {"y": (2 * X).astype(np.int32)}, "dtype float32 instead of int32"),
        (RIGHT | {"y": 2 * X[:2]}, "shape (3, 2) instead of (2, 2)"),
        (RIGHT | {"y": 2 * X.T}, "shape (3, 2) instead of (2, 3)"),
        ({"y": 2 * X}, "the outputs should be y"),
        ({**RIGHT, "more": X}, "the outputs should be y, z, more"),
        ({"z": -X, "y": 2 * X}, "the outputs should be z, y"),
        ({"y": 2 * X, "other": -X}, "the outputs should be y, other"),
    ],
)
def test_a_planted_fault_fails_the_gate(tmp_path: Path, expected: dict[str, Any], reason: str) -> None:
    rows = verified(tmp_path, TWICE, [Y, Z], expected)
    assert [row.reason for row in rows if row.reason] == [reason]
    with pytest.raises(GateError) as refused:
        require_parity("the exported model differs from its source", rows)
    assert reason in refused.value.problems[0].detail


def test_compare_with_nan_of_the_model_alone_differs(tmp_path: Path) -> None:
    nodes = [helper.make_node("Log", ["x"], ["y"])]
    with np.errstate(all="ignore"):
        right = np.log(X)
    require_parity("both NaN and -inf", verified(tmp_path, nodes, [Y], {"y": right}))
    (row,) = verified(tmp_path, nodes, [Y], {"y": np.nan_to_num(right)})
    assert row.reason == "NaN in 1 other places"


def test_a_baked_in_axis_is_a_difference_and_the_other_cases_are_still_judged(tmp_path: Path) -> None:
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[3, 2])
    nodes = [shape, helper.make_node("Reshape", ["x", "shape"], ["y"])]
    verified(tmp_path, nodes, [Y], {"y": X})
    write_arrays(tmp_path / "big.inputs.npz", {"x": np.ones((5, 2), np.float32)})
    write_arrays(tmp_path / "big.outputs.npz", {"y": np.ones((5, 2), np.float32)})
    rows = verify_model(tmp_path / "m.onnx", reference(tmp_path, "big", "case"), Tolerance(0, 0))
    assert [row.case for row in rows] == ["big", "case"]
    assert rows[0].reason.startswith("it does not run: ")
    assert rows[1].reason == ""


def test_a_model_that_does_not_load_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(SourceError):
        verify_model(tmp_path / "m.onnx", reference(tmp_path, "case"), Tolerance(0, 0))


def test_nothing_compared_is_a_failure() -> None:
    with pytest.raises(GateError, match="the image: nothing was compared"):
        require_parity("the image", [])


@pytest.mark.parametrize(
    ("expected", "actual", "reason"),
    [
        (np.array([1, 2]), np.array([1, 2]), ""),
        (np.array([1, 2]), np.array([1, 3]), "1 of 2 values differ"),
        (np.array([True, False]), np.array([False, True]), "2 of 2 values differ"),
        (np.array(["a", "Ä"]), np.array(["a", "Ä"], dtype=object), ""),
        (np.array(["a", "b"]), np.array(["a", "c"], dtype=object), "1 of 2 values differ"),
        (np.array([2**62]), np.array([2**62 + 1]), "1 of 1 values differ"),
        (np.float32([np.inf, -np.inf, np.nan]), np.float32([np.inf, -np.inf, np.nan]), ""),
        (np.float32([np.inf]), np.float32([-np.inf]), "infinite in other places"),
        (np.float32([np.inf]), np.float32([3e38]), "infinite in other places"),
        (np.zeros((0, 3)), np.zeros((0, 3)), ""),
        (np.float32(1), np.float32(1), ""),
    ],
)
def test_what_is_equal_is_exact_where_there_is_no_tolerance(expected: Any, actual: Any, reason: str) -> None:
    assert compare("case", "y", expected, actual, 1, 1).reason == reason


def test_a_relative_difference_next_to_zero_says_nothing() -> None:
    row = compare("case", "y", np.array([1e-6, 100.0]), np.array([9e-5, 100.05]), RTOL, ATOL)
    assert row.reason == ""
    assert row.max_rel_diff == pytest.approx(5e-4)


@given(
    st.data(),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.floats(0, 1),
    st.one_of(st.just(0.0), st.floats(1e-12, 1e6)),
)
def test_the_tolerance_is_that_of_numpy_isclose(data: st.DataObject, dtype: Any, rtol: float, atol: float) -> None:
    values = arrays.arrays(dtype, 4, elements={"min_value": -60000, "max_value": 60000})
    right = data.draw(values)
    near = right.astype(np.float64) * data.draw(st.sampled_from([1, 1 + rtol, 1 - rtol / 2, 1 + 2 * rtol]))
    with np.errstate(over="ignore"):
        got = data.draw(st.one_of(values, st.just(near.astype(dtype))))
    finite = np.isfinite(got).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = compare("case", "y", right, got, rtol, atol)
    same = np.isclose(got.astype(np.float64), right.astype(np.float64), rtol=rtol, atol=atol)
    assert (row.reason == "") == bool(same.all())
    if finite:
        assert row.reason in ("", f"{int((~same).sum())} of 4 values differ")
        assert row.max_abs_diff == np.abs(got.astype(np.float64) - right.astype(np.float64)).max()


def test_order_and_names_of_outputs_are_compared_first() -> None:
    (row,) = compare_case("case", {"a": X, "b": X}, {"b": X, "a": X}, RTOL, ATOL)
    assert (row.output, row.reason) == ("b, a", "the outputs should be a, b")


TABLE = """\
case         output  max abs   max rel   what differs
00_n1        y       0.000123  1.23e+05  1 of 4 values differ: 3 instead of 2 at [1]
02_n8_seq16  label   -         -         dtype int32 instead of int64"""


def test_table_aligns_rows_and_leaves_out_what_has_no_number() -> None:
    rows = [
        Comparison("00_n1", "y", 0.0001234, 123456.0, "1 of 4 values differ", first="3 instead of 2 at [1]"),
        Comparison("02_n8_seq16", "label", 0.0, 0.0, "dtype int32 instead of int64"),
    ]
    assert format_comparisons(rows) == TABLE
    assert format_comparisons(rows * 15).splitlines()[-1] == "… and 10 more"
    assert len(format_comparisons(rows * 15).splitlines()) == 22


@pytest.mark.parametrize(
    ("right", "got", "what", "first"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.5, np.nan], "NaN", "nan instead of 3 at [2]"),
        ([1.0, 2.0, 3.0], [1.0, np.inf, 3.5], "infinity", "inf instead of 2 at [1]"),
        ([1.0, 2.0, 3.0], [1.0, 2.5, 3.0], "values", "2.5 instead of 2 at [1]"),
    ],
)
def test_what_differs_is_named_with_its_first_element(right: Any, got: Any, what: str, first: str) -> None:
    row = compare("case", "y", np.array(right), np.array(got), RTOL, ATOL)
    assert (row.differs, row.first) == (what, first)
    assert row.max_abs_diff == 0.5, "what is finite in both is measured all the same"


def test_labels_that_differ_are_named() -> None:
    row = compare("case", "y", np.array([["a", "b"]]), np.array([["a", "c"]], dtype=object), RTOL, ATOL)
    assert (row.differs, row.first) == ("labels", "'c' instead of 'b' at [0, 1]")
    assert format_comparisons([row]).splitlines()[1].split()[2:4] == ["-", "-"]


def test_the_gate_counts_and_shows_what_failed_alone() -> None:
    with pytest.raises(GateError) as refused:
        require_parity(
            "the model", [Comparison("a", "y", 0, 0), Comparison("b", "y", 1, 1, "wrong"), Comparison("c", "y", 0, 0)]
        )
    (problem,) = refused.value.problems
    assert problem.message == "the model: 1 of 3 comparisons differ"
    assert len(problem.detail.splitlines()) == 2
    assert "rtol" in problem.hint


@pytest.mark.parametrize(
    ("dtype", "precision", "given", "found"),
    [
        ("float64", "float32", (None, None), (1e-5, 1e-6)),
        ("float32", "float32", (None, None), (1e-3, 1e-4)),
        ("float16", "float32", (None, None), (1e-2, 1e-3)),
        ("float64", "float16", (None, None), (1e-2, 1e-3)),
        ("float16", "float16", (0.0, None), (0.0, 1e-3)),
        ("float64", "float16", (None, 0.5), (1e-2, 0.5)),
        ("int64", "float32", (None, None), (1e-3, 1e-4)),
    ],
)
def test_the_tolerance_is_the_given_one_or_the_looser_of_dtype_and_precision(
    dtype: str, precision: str, given: tuple[float | None, float | None], found: tuple[float, float]
) -> None:
    assert choose_tolerance(dtype, precision, *given) == found


@pytest.mark.parametrize(("dtype", "reason"), [("float64", "1 of 1 values differ"), ("float32", ""), ("float16", "")])
def test_an_output_is_judged_by_the_tolerance_of_its_dtype(dtype: str, reason: str) -> None:
    right, got = np.array([1.0], dtype), np.array([1 + 5e-4], dtype)
    (row,) = compare_case("case", {"y": right}, {"y": got})
    assert row.reason == reason
    assert (row.rtol, row.atol) == choose_tolerance(dtype)


def test_an_output_that_is_rounded_may_differ_by_a_unit_of_its_last_digit() -> None:
    right, got = np.array([0.12, 5.0], np.float32), np.array([0.13, 5.0], np.float32)
    cases = [("case", {"y": right}, {"y": got})]
    assert compare_cases(cases, Tolerance())[0].reason
    (row,) = compare_cases(cases, Tolerance(units={"y": 0.01}))
    assert row.reason == ""
    assert row.atol == pytest.approx(0.0101)
    assert compare_cases([("case", {"y": right}, {"y": got + 0.02})], Tolerance(units={"y": 0.01}))[0].reason


def test_the_difference_of_long_texts_is_seen() -> None:
    right = '[{"entity": "PERSON", "start": 5, "end": 9}]'
    got = right.replace("5", "6")
    row = compare("case", "y", np.array([right]), np.array([got], object), None, None)
    assert row.first == """'… "start": 6, "end": 9}]' instead of '… "start": 5, "end": 9}]' at [0]"""
    assert compare("case", "y", np.array(["ab"]), np.array(["ac"]), None, None).first == "'ac' instead of 'ab' at [0]"
