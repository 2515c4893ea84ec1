"""Exports that are wrong in one way, by models that behave otherwise while they are traced: each fails the gate."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import export_here, write_spec
from onnx_examples import FLOAT, make_model

import onnxpack.sources.onnx
from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError
from onnxpack.core.values import Reference
from onnxpack.data.test_inputs import read_arrays, write_arrays
from onnxpack.image.smoke import _compare_answer
from onnxpack.parity.compare import Tolerance, require_parity
from onnxpack.sources import Export

NETS = """
import torch

tracing = torch.onnx.is_in_onnx_export

class Values(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) * (1.01 if tracing() else 1), x + 1

class Nan(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x), torch.log(x - 100) if tracing() else x + 1

class Infinite(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x), (x * 0 + 1) / (x * 0) if tracing() else x + 1

class Reordered(torch.nn.Module):
    def forward(self, x):
        a, b = torch.relu(x), x + 1
        return (b, a) if tracing() else (a, b)

class Axis(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x), (x + 1)[: int(x.shape[0])]

class Dtype(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x), (x + 1).double() if tracing() else x + 1

class Rank(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x), (x + 1)[None] if tracing() else x + 1

class Lost(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) if tracing() else (torch.relu(x), x + 1)

class Gained(torch.nn.Module):
    def forward(self, x):
        return (torch.relu(x), x + 1, x) if tracing() else (torch.relu(x), x + 1)

class Right(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x), x + 1
"""


def judged(folder: Path, name: str, exporter: str = "torchscript") -> None:
    (folder / "nets.py").write_text(NETS)
    model = {"framework": "torch", "factory": f"nets.py:{name}", "exporter": exporter}
    require_parity("the export", export_here(write_spec(folder, model), folder / "out").rows())


@pytest.mark.case("M4")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Values", "values differ"),
        ("Nan", "NaN in 4 other places"),
        ("Infinite", "infinite in other places"),
        ("Reordered", "values differ"),
        ("Axis", "shape (2, 4) instead of (3, 4)"),
        ("Dtype", "dtype float64 instead of float32"),
        ("Rank", "shape (1, 1, 4) instead of (1, 4)"),
    ],
)
def test_a_planted_fault_never_ships(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(GateError) as refused:
        judged(tmp_path, name)
    assert refused.value.exit_code == 4
    (problem,) = refused.value.problems
    assert words in f"{problem.message} {problem.detail}"


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize(("name", "count"), [("Lost", 1), ("Gained", 3)])
def test_another_number_of_outputs_never_ships(tmp_path: Path, name: str, count: int, exporter: str) -> None:
    with pytest.raises(GateError, match=f"the source gives 2 outputs, the export has {count}"):
        judged(tmp_path, name, exporter)


@pytest.mark.case("M4")
def test_a_lost_output_never_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"]), onnx.helper.make_node("Neg", ["x"], ["z"])]
    onnx.save(make_model(nodes, outputs=[(name, FLOAT, ["b", 4]) for name in "yz"]), tmp_path / "m.onnx")
    save = onnx.save

    def losing(model: onnx.ModelProto, *arguments: Any, **options: Any) -> None:
        del model.graph.output[1:]
        save(model, *arguments, **options)

    monkeypatch.setattr(onnxpack.sources.onnx.onnx, "save", losing)
    monkeypatch.setattr(onnxpack.sources.onnx, "export", keeping_names(onnxpack.sources.onnx.export))
    with pytest.raises(GateError, match="the source gives 2 outputs, the export has 1"):
        export_here(write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}), tmp_path / "out")


def keeping_names(export: Any) -> Any:
    """The export, with the names that the source has."""
    return lambda *arguments: (export(*arguments), Export(("y", "z")))[1]


def test_what_is_right_passes(tmp_path: Path) -> None:
    judged(tmp_path, "Right")


# The image's answers are judged by the same comparison.

LABELS, SCORES = np.array(["a", "b"]), np.array([[0.5, 0.5], [0.1, 0.9]], np.float32)


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    write_arrays(tmp_path / "case.inputs.npz", {"x": np.zeros(2)})
    write_arrays(tmp_path / "case.outputs.npz", {"label": LABELS, "scores": SCORES})
    assert list(read_arrays(tmp_path / "case.outputs.npz")) == ["label", "scores"]
    return Reference(Artifact.of(tmp_path), ("case",))


def answer(**tensors: Any) -> dict[str, Any]:
    outputs = [{"name": name, "shape": list(np.shape(data)), "data": np.ravel(data).tolist()} for name, data in
               tensors.items()]  # fmt: skip
    return {"status": 200, "answer": {"outputs": outputs}}


@pytest.mark.parametrize(
    ("tensors", "reasons", "ties"),
    [
        ({"label": LABELS, "scores": SCORES}, ["", ""], 0),
        ({"scores": SCORES, "label": LABELS}, ["", ""], 0),
        ({"label": ["b", "b"], "scores": SCORES}, ["", ""], 1),
        ({"label": ["c", "b"], "scores": SCORES}, ["1 of 2 values differ", ""], 0),
        ({"label": ["a", "a"], "scores": SCORES}, ["1 of 2 values differ", ""], 0),
        ({"label": LABELS, "scores": SCORES + 1}, ["", "4 of 4 values differ"], 0),
        ({"label": LABELS, "scores": SCORES[:1]}, ["", "shape (1, 2) instead of (2, 2)"], 0),
        ({"label": LABELS}, ["the outputs should be label, scores"], 0),
    ],
)
def test_the_servers_answer_is_judged(
    reference: Reference, tensors: dict[str, Any], reasons: list[str], ties: int
) -> None:
    rows = _compare_answer(reference, "case", answer(**tensors), Tolerance())
    assert [row.reason for row in rows] == reasons
    assert sum(row.ties for row in rows) == ties
