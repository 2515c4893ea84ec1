"""What is verified fits into its bytes, and what is left out is said."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import export_here, write_spec
from onnx_examples import FLOAT, RELU, make_model

import onnxpack.data.case_budget
from onnxpack.data.case_budget import Budget, count_input_bytes
from onnxpack.data.test_inputs import draw, list_corners, list_main_sizes
from onnxpack.spec.model import Spec
from onnxpack.spec.served import make_served_spec

FIELDS = {
    "inputs": {
        "x": {"dtype": "float32", "shape": ["n", "m"]},
        "words": {"dtype": "string", "shape": ["n"], "choices": ["a", "longer"]},
        "flag": {"dtype": "bool", "shape": ["m", 2]},
    },
    "dynamic_axes": {"n": {"min": 1, "opt": 8, "max": 64}, "m": {"min": 2, "opt": 8, "max": 1024}},
}


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    return write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **FIELDS).spec


def spent(budget: Budget, spec: Spec, outputs: int = 1) -> tuple[list[dict[str, int]], int]:
    """What is chosen, and the bytes that it took, each case with ``outputs`` times its inputs."""
    chosen, total = [], 0
    for at in budget.sizes():
        chosen.append(at)
        inputs = draw(spec, at, 0)
        made = [array for array in inputs.values() for _ in range(outputs)]
        budget.count(inputs.values(), made)
        total += sum(array.nbytes for array in (*inputs.values(), *made))
    return chosen, total


def test_the_bytes_of_inputs_are_known_before_they_are_drawn(spec: Spec) -> None:
    at = {"n": 5, "m": 7}
    assert count_input_bytes(spec, at) == sum(array.nbytes for array in draw(spec, at, 0).values())


def test_with_room_for_all_nothing_is_left_out(spec: Spec) -> None:
    budget = Budget(spec)
    found = [tuple(at.items()) for at in (*list_main_sizes(spec.axes), *list_corners(spec.axes))]
    assert [tuple(at.items()) for at in spent(budget, spec)[0]] == list(dict.fromkeys(found))
    assert budget.notes == []


def test_budget_that_is_too_small_leaves_out_corners_first(spec: Spec) -> None:
    full, total = spent(Budget(spec), spec)
    budget = Budget(spec, total - 1)
    chosen, bytes_now = spent(budget, spec)
    assert chosen[:4] == full[:4]
    assert len(chosen) < len(full)
    assert bytes_now < total
    assert budget.notes == [
        "1 mixed corner of the axes' sizes is not verified: inputs and outputs of all cases may take 1 MiB"
    ]


@pytest.mark.parametrize("outputs", [1, 5])
def test_budget_below_the_main_sizes_reduces_the_largest(spec: Spec, outputs: int) -> None:
    budget = Budget(spec, 60_000)
    chosen, total = spent(budget, spec, outputs)
    assert total <= 60_000
    assert chosen[:2] == [{"n": 1, "m": 2}, {"n": 3, "m": 5}]
    shrunk = chosen[3]
    assert shrunk["m"] < 1024
    assert any(note.startswith("verified at") and f"m {shrunk['m']} instead of 1024" in note for note in budget.notes)


def test_the_smallest_sizes_are_verified_whatever_they_take(spec: Spec) -> None:
    assert spent(Budget(spec, 1), spec)[0] == [{"n": 1, "m": 2}]


def test_a_tiny_image_does_not_make_the_others_dear(tmp_path: Path) -> None:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    fields = {
        "inputs": {"x": {"dtype": "float32", "shape": ["n", 3, 64, 64]}},
        "dynamic_axes": {"n": {"min": 1, "max": 4}},
        "preprocess": [{"op": "resize", "input": "x", "size": [64, 64]}],
        "opset": 18,
    }
    spec = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields).spec
    seen = make_served_spec(spec)
    budget = Budget(spec, 20_000_000)
    chosen = []
    for at in budget.sizes():
        chosen.append(at)
        inputs = [*draw(seen, at, 0).values(), *draw(spec, at, 0).values()]
        assert budget.cost(at) >= sum(array.nbytes for array in inputs)
        budget.count(inputs, [np.zeros((at["n"], 10), np.float32)])
    assert {"n": 4, "x_height": 64, "x_width": 64} in chosen
    assert {"n": 4, "x_height": 256, "x_width": 256} in chosen


def test_the_notes_go_with_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"})
    init = Budget.__init__
    monkeypatch.setattr(onnxpack.data.case_budget.Budget, "__init__", lambda self, spec: init(self, spec, 600))
    made = export_here(file, tmp_path / "out")
    assert (
        made.reference.notes
        == [
            "verified at n 4 instead of 8: inputs and outputs of all cases may take 0 MiB",
            "verified at n 4 instead of 16: inputs and outputs of all cases may take 0 MiB",
        ]
        or made.reference.notes
    )
    assert max(at["n"] for at in made.reference.sizes) < 16


def test_strings_bools_and_an_empty_batch_are_verified(tmp_path: Path) -> None:
    types = {"x": FLOAT, "words": onnx.TensorProto.STRING, "flag": onnx.TensorProto.BOOL}
    nodes = [onnx.helper.make_node("Identity", [name], [f"{name}_out"]) for name in types]
    model = make_model(
        nodes,
        [(name, kind, ["b", 4]) for name, kind in types.items()],
        [(f"{name}_out", kind, ["b", 4]) for name, kind in types.items()],
    )
    onnx.save(model, tmp_path / "m.onnx")
    dtypes: dict[str, Any] = {"x": "float32", "words": "string", "flag": "bool"}
    inputs = {name: {"dtype": dtype, "shape": ["n", 4]} for name, dtype in dtypes.items()}
    file = write_spec(
        tmp_path, {"framework": "onnx", "path": "m.onnx"}, inputs=inputs, dynamic_axes={"n": {"min": 0, "max": 9}}
    )
    made = export_here(file, tmp_path / "out")
    assert made.reference.sizes[0] == {"n": 0}
    rows = made.rows()
    assert {row.output for row in rows} == {f"{name}_out" for name in types}
    assert not any(row.reason for row in rows)
    assert rows[0].cosine is None
    assert np.isfinite(rows[3].max_abs_diff)
