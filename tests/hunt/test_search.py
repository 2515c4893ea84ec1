"""Inputs of networks are searched: what random ones miss is found, and a jump of the source blames no export."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import export_here, write_spec
from onnx_examples import FLOAT, MATMUL, RELU, make_model

from onnxpack.data.test_inputs import Arrays
from onnxpack.hunt import Findings, hunt
from onnxpack.hunt.cost import estimate_run_cost
from onnxpack.hunt.extremes import draw_mixed_rows, fill, make_corner_cases, make_tiny_case
from onnxpack.parity.compare import Tolerance, compare_case, verify_model
from onnxpack.spec.load import SpecFile

DECLARED = {"x": {"dtype": "float32", "shape": ["n", 4], "range": [0, 8]}}
Answer = Callable[[Arrays], list[Any]]


@pytest.fixture
def hunted(tmp_path: Path) -> Any:
    """What is found on a model of these nodes, from ``x`` to ``y``, whose source is a function."""

    def run(nodes: Any, answer: Answer, inputs: Any = None, dtype: int = FLOAT, **fields: Any) -> Findings:
        shape = ["n", 4] if dtype == FLOAT else ["n"]
        onnx.save(make_model(nodes, outputs=[("y", dtype, shape)]), tmp_path / "m.onnx")
        model = {"framework": "onnx", "path": "m.onnx"}
        return hunt(
            write_spec(tmp_path, model, inputs=inputs or DECLARED, **fields).spec, tmp_path / "m.onnx", 0, answer
        )

    return run


def failing(found: Findings, model: Path) -> list[str]:
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = []
    for case in found.cases:
        (answer,) = session.run(None, case.inputs)
        if any(row.reason for row in compare_case(case.name, case.outputs, {"y": answer})):
            names.append(case.name)
    return names


def above(limit: float) -> Answer:
    """A source that divides what has an outlier; the export froze the other branch."""
    return lambda given: [np.maximum(given["x"] / (given["x"].max() if given["x"].max() > limit else 1), 0)]


@pytest.mark.parametrize("limit", [7.99, 7.9999])
def test_a_frozen_branch_is_found_at_the_ends_of_the_range(hunted: Any, tmp_path: Path, limit: float) -> None:
    found = hunted(RELU, above(limit))
    assert {"hunt_high", "hunt_outlier"} <= set(failing(found, tmp_path / "m.onnx"))


WEIGHTS = np.array([[100, 0, 0, 0], [100, 0, 0, 0], [100, 0, 0, 0], [1, 0, 0, 0]], np.float32)


def test_hunt_of_one_small_wrong_weight_finds_inputs_that_show_it(hunted: Any, tmp_path: Path) -> None:
    """Off by a hundredth, beside weights a hundred times as large: random rows differ by less than the tolerance."""
    wrong = onnx.numpy_helper.from_array(WEIGHTS * np.float32([[1], [1], [1], [1.01]]), "w")
    nodes = [onnx.helper.make_node("Constant", [], ["w"], value=wrong), *MATMUL]
    rows = np.random.default_rng(0).uniform(0, 8, (1000, 4)).astype(np.float32)
    right = rows @ WEIGHTS
    assert np.allclose(right, rows @ onnx.numpy_helper.to_array(wrong), 1e-3, 1e-4), "1,000 random rows miss it"
    found = hunted(nodes, lambda given: [given["x"] @ WEIGHTS])
    assert "hunt_search" in failing(found, tmp_path / "m.onnx")


def test_a_right_model_has_no_case_that_differs(hunted: Any, tmp_path: Path) -> None:
    found = hunted(RELU, lambda given: [np.maximum(given["x"], 0)])
    assert failing(found, tmp_path / "m.onnx") == []
    assert {case.name for case in found.cases} == {
        *("hunt_low", "hunt_high", "hunt_middle", "hunt_outlier", "hunt_tiny", "hunt_search")
    }
    assert found.notes == []


def test_hunt_twice_finds_the_same_cases(hunted: Any) -> None:
    first, again = (hunted(RELU, above(7.0)) for _ in range(2))
    assert [case.name for case in first.cases] == [case.name for case in again.cases]
    for one, other in zip(first.cases, again.cases, strict=True):
        np.testing.assert_array_equal(one.inputs["x"], other.inputs["x"])


ARGMAX = [onnx.helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)]


def test_a_tie_is_the_sources_own_jump(hunted: Any, tmp_path: Path) -> None:
    """Of equal elements the source names the last, the model the first: either is right."""
    found = hunted(ARGMAX, lambda given: [3 - given["x"][:, ::-1].argmax(axis=1)], dtype=onnx.TensorProto.INT64)
    assert failing(found, tmp_path / "m.onnx") == []
    assert "low inputs are not compared: the source's own answer jumps there" in found.notes


def test_hunt_of_nan_gives_a_note_and_fails_nothing(hunted: Any, tmp_path: Path) -> None:
    found = hunted(RELU, lambda given: [np.nan_to_num(np.maximum(given["x"], 0), nan=7.0)])
    assert "NaN in `x`: the source gives 7 in `y`, the model NaN" in found.notes
    assert failing(found, tmp_path / "m.onnx") == []


def test_what_the_source_refuses_is_not_compared(hunted: Any) -> None:
    def refuse(given: Arrays) -> list[Any]:
        raise ValueError("not this")

    assert hunted(RELU, refuse) == Findings()


def test_a_fault_of_the_hunt_itself_is_a_note(hunted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpack.hunt.search_network", lambda *_: 1 / 0)
    found = hunted(RELU, lambda given: [np.maximum(given["x"], 0)])
    assert found.notes == ["searched inputs are not compared: ZeroDivisionError: division by zero"]


def test_without_random_inputs_nothing_is_hunted(hunted: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.zeros((5, 4), np.float32))
    verify = {"samples": "s.npz", "random": False}
    assert hunted(RELU, lambda given: [given["x"]], verify=verify) == Findings()


def test_hunted_cases_enter_the_reference(tmp_path: Path) -> None:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, inputs=DECLARED)
    made = export_here(file, tmp_path / "out")
    assert made.reference.hunted["hunt_low"] == {"n": 1}
    rows = verify_model(made.model.path, replace(made.reference, cases=(), sizes=()), Tolerance())
    assert len(rows) == len(made.reference.hunted) > 4
    assert not any(row.reason for row in rows)


def spec(folder: Path, inputs: Any, **fields: Any) -> SpecFile:
    onnx.save(make_model(RELU), folder / "m.onnx")
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, inputs=inputs, **fields)


@pytest.mark.parametrize(
    ("tensor", "low", "high"),
    [
        ({"dtype": "float32", "range": [-1.5, 2]}, -1.5, 2),
        ({"dtype": "int64"}, 0, 9),
        ({"dtype": "uint64", "range": [0, 2**64 - 1]}, 0, 2**64 - 1),
        ({"dtype": "string", "choices": ["b", "a"]}, "b", "a"),
        ({"dtype": "bool"}, False, True),
        ({"dtype": "int32", "choices": [5, -2, 70]}, -2, 70),
    ],
)
def test_the_ends_of_what_is_declared_are_filled_exactly(tmp_path: Path, tensor: Any, low: Any, high: Any) -> None:
    found = spec(tmp_path, {"x": tensor | {"shape": ["n", 4]}}).spec.inputs["x"]
    assert (fill(found, (2, 4), 0.0) == low).all()
    assert (fill(found, (2, 4), 1.0) == high).all()


def test_the_greatest_uint64_is_filled_exactly_beside_a_smaller_column(tmp_path: Path) -> None:
    columns = [{"range": [0, 1]}, {"range": [0, 2**64 - 1]}]
    found = spec(tmp_path, {"x": {"dtype": "uint64", "shape": ["n", 2], "columns": columns}}).spec.inputs["x"]
    assert fill(found, (3, 2), 1.0).tolist() == [[1, 2**64 - 1]] * 3


def test_masks_keep_one_element_in_every_corner(tmp_path: Path) -> None:
    inputs = {"x": {"dtype": "int64", "shape": ["n", 4], "range": [0, 1], "at_least_one": True}}
    for _, arrays in make_corner_cases(spec(tmp_path, inputs).spec):
        assert arrays["x"].any(axis=1).all()


def test_masks_of_padding_have_ones_and_then_zeros_wherever_a_search_goes(tmp_path: Path) -> None:
    inputs = {"x": {"dtype": "int64", "shape": ["n", 6], "padding": "right"}}
    found = spec(tmp_path, inputs).spec
    rows = [*(arrays for _, arrays in make_corner_cases(found)), *draw_mixed_rows(found, np.random.default_rng(0))]
    masks = np.concatenate([arrays["x"] for arrays in rows])
    assert (np.diff(masks, axis=1) <= 0).all()
    assert masks.any(axis=1).all()
    assert len(np.unique(masks, axis=0)) > 2


def test_tiny_values_stay_in_the_range(tmp_path: Path) -> None:
    arrays = make_tiny_case(spec(tmp_path, {"x": {"dtype": "float32", "shape": ["n", 64], "range": [0, 1]}}).spec)
    assert arrays is not None
    assert arrays["x"].min() >= 0
    assert ((arrays["x"] > 0) & (arrays["x"] < 1e-37)).any()
    assert make_tiny_case(spec(tmp_path, {"x": {"dtype": "float32", "shape": ["n", 4], "range": [1, 2]}}).spec) is None


def test_a_costly_model_is_searched_less(tmp_path: Path) -> None:
    size = 512
    weights = onnx.numpy_helper.from_array(np.zeros((size, size), np.float32), "w")
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    ends = ([("x", FLOAT, ["b", size])], [("y", FLOAT, ["b", size])])
    onnx.save(make_model(nodes, *ends, [weights]), tmp_path / "m.onnx")
    one, many = (estimate_run_cost(tmp_path / "m.onnx", {"x": np.zeros((rows, size), np.float32)}) for rows in (1, 100))
    assert one > size**2
    assert many - one == pytest.approx(99 * size**2, rel=0.01)
