"""A source model that answers by chance, or with NaN alone, is refused before anything is exported."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import export_here, write_spec
from onnx import helper
from onnx_examples import FLOAT, make_model

from onnxpack.core.errors import GateError
from onnxpack.spec.load import SpecFile

RANDOM = [
    helper.make_node("RandomNormalLike", ["x"], ["noise"], scale=0.5),
    helper.make_node("Add", ["x", "noise"], ["y"]),
    helper.make_node("Neg", ["x"], ["z"]),
]
Y, Z = (("y", FLOAT, ["b", 4]), ("z", FLOAT, ["b", 4]))


def saved(folder: Path, nodes: list[onnx.NodeProto], given: Any, **fields: Any) -> SpecFile:
    onnx.save(make_model(nodes, outputs=given), folder / "m.onnx")
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, **fields)


def refusal(file: SpecFile, folder: Path) -> str:
    with pytest.raises(GateError) as refused:
        export_here(file, folder / "out")
    assert refused.value.exit_code == 4
    assert all(problem.hint for problem in refused.value.problems)
    return str(refused.value)


@pytest.mark.case("M4")
def test_random_numbers_are_found_whatever_the_specs_tolerance(tmp_path: Path) -> None:
    file = saved(tmp_path, RANDOM, [Z, Y], outputs=["same", "noisy"], verify={"rtol": 1, "atol": 1000})
    words = refusal(file, tmp_path)
    assert words.startswith("the source model is not deterministic: output 'noisy' differs between two runs")
    assert "values differ, up to " in words
    assert "'same'" not in words


def test_an_output_without_a_name_is_told_by_its_place(tmp_path: Path) -> None:
    assert "output number 2 differs" in refusal(saved(tmp_path, RANDOM, [Z, Y]), tmp_path)


TORCH = """
import torch

class Dropout(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x, 0.5)  # on, whatever eval() says

class Counter(torch.nn.Module):
    calls = 0
    def forward(self, x):
        self.calls += 1
        return x + self.calls

class InPlace(torch.nn.Module):
    def forward(self, x):
        return x.mul_(2) + 1
"""


def torch_spec(folder: Path, name: str) -> SpecFile:
    (folder / "nets.py").write_text(TORCH)
    return write_spec(folder, {"framework": "torch", "factory": f"nets.py:{name}"})


@pytest.mark.parametrize("name", ["Dropout", "Counter"])
def test_dropout_and_state_are_found(tmp_path: Path, name: str) -> None:
    assert "output number 1 differs between two runs" in refusal(torch_spec(tmp_path, name), tmp_path)


def test_require_steady_of_a_model_that_changes_its_input_passes(tmp_path: Path) -> None:
    made = export_here(torch_spec(tmp_path, "InPlace"), tmp_path / "out")
    with (
        np.load(made.folder / "reference/01_n3.inputs.npz") as inputs,
        np.load(made.folder / "reference/01_n3.outputs.npz") as outputs,
    ):
        np.testing.assert_array_equal(outputs["output"], inputs["x"] * 2 + 1)


LOG = [helper.make_node("Log", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]


def below_zero(**fields: Any) -> dict[str, Any]:
    return {"inputs": {"x": {"dtype": "float32", "shape": ["n", 4], "range": [-2, -1]}}, **fields}


def test_nothing_but_nan_is_refused_with_a_cure(tmp_path: Path) -> None:
    words = refusal(saved(tmp_path, LOG, [Z, Y], **below_zero()), tmp_path)
    assert words == (
        "the source model gives nothing but NaN in output number 2: nothing to compare "
        "(set the inputs' `range` to values that the model was made for, or give real inputs in `verify.samples`)"
    )


def test_some_nan_is_compared(tmp_path: Path) -> None:
    made = export_here(saved(tmp_path, LOG, [Z, Y]), tmp_path / "out")
    assert {row.reason for row in made.rows()} == {""}


def test_nan_for_the_users_own_samples_is_theirs(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=-np.ones((2, 4), np.float32))
    made = export_here(saved(tmp_path, LOG, [Z, Y], **below_zero(verify={"samples": "s.npz"})), tmp_path / "out")
    assert {row.reason for row in made.rows()} == {""}
