"""An exporter that is left out means the one that takes the model and gives its answers."""

from pathlib import Path

import pytest
from exporting import export_here
from torch_nets import forward, net

from onnxpack.core.errors import SourceError
from onnxpack.parity.compare import require_parity

NORM = (
    "import torch\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.norm = torch.nn.LayerNorm(4)\n    def forward(self, x):\n        return self.norm(x)\n"
)


def test_dynamo_is_the_first_choice_and_needs_no_note(tmp_path: Path) -> None:
    made = export_here(net(tmp_path, NORM), tmp_path / "out")
    assert (made.exported.exporter, list(made.reference.notes)) == ("dynamo", [])
    assert sorted(path.name for path in made.folder.iterdir()) == ["model.onnx", "reference"]


def test_an_opset_that_dynamo_cannot_reach_is_made_by_torchscript(tmp_path: Path) -> None:
    made = export_here(net(tmp_path, NORM, {"opset": 13}), tmp_path / "out")
    assert (made.exported.exporter, made.model.opset) == ("torchscript", 13)
    assert list(made.reference.notes) == ["exported by torchscript: opset 13 cannot be had: the export has 18"]
    require_parity("opset 13", made.rows())


def test_code_that_dynamo_cannot_trace_is_exported_by_torchscript(tmp_path: Path) -> None:
    code = forward("x * 2 if self.weight.sum() > 0 else x").replace(
        "    def forward",
        "    def __init__(self):\n        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(torch.ones(4))\n    def forward",
    )
    made = export_here(net(tmp_path, code), tmp_path / "out")
    assert made.exported.exporter == "torchscript"
    (note,) = made.reference.notes
    assert note.startswith("exported by torchscript: the dynamo exporter failed: Could not guard on data-dependent")
    require_parity("parameters", made.rows())


def test_a_branch_on_data_fails_by_both_and_each_says_why(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as refused:
        export_here(net(tmp_path, forward("x * 2 if x.sum() > 0 else x")), tmp_path / "out")
    dynamo, torchscript = refused.value.problems
    assert dynamo.message.startswith("the dynamo exporter failed: ")
    assert dynamo.hint == "torchscript was tried too, and fails with the next error"
    assert torchscript.message.startswith("the torchscript exporter would freeze a branch or value")


def test_a_dynamo_export_that_answers_otherwise_gives_way(tmp_path: Path) -> None:
    code = forward("x * 2 if torch.compiler.is_exporting() else x * 3")
    made = export_here(net(tmp_path, code), tmp_path / "out")
    assert made.exported.exporter == "torchscript"
    assert made.reference.notes[0].startswith(
        "exported by torchscript: the export by dynamo answers otherwise at n 2: "
    )
    require_parity("answers", made.rows())


def test_an_export_that_answers_otherwise_by_both_is_left_to_verification(tmp_path: Path) -> None:
    code = forward("x * 2 if torch.compiler.is_exporting() or torch.jit.is_tracing() else x * 3")
    made = export_here(net(tmp_path, code), tmp_path / "out")
    assert made.exported.exporter == "dynamo"
    assert made.reference.notes[0].startswith("exported by dynamo, although the export by dynamo answers otherwise")
    assert any(row.reason for row in made.rows())


def test_a_failure_above_the_opsets_of_torchscript_says_so(tmp_path: Path) -> None:
    file = net(tmp_path, forward("torch.linalg.eigh(x.T @ x)[0]"), {"opset": 22})
    with pytest.raises(SourceError) as refused:
        export_here(file, tmp_path / "out")
    assert [problem.hint for problem in refused.value.problems] == ["torchscript makes opset 20 at most"]
