"""Both exporters at all opsets, modules that will not rest, and reports of what could not be exported."""

from pathlib import Path
from unittest.mock import patch

import pytest
from exporting import export_here, export_in_child
from torch_nets import forward, net, refusal

import onnxpack.sources.torch as source
from onnxpack.core.errors import SourceError
from onnxpack.parity.compare import require_parity

CNN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.9))
        self.norm = nn.BatchNorm1d(8)
        self.last = nn.Conv1d(1, 2, 3, padding=1)
        self.norm.running_mean += 3

    def forward(self, x):
        y = self.norm(self.first(x))
        return {"maps": self.last(y.unsqueeze(1)), "best": torch.softmax(y, 1)}

def make():
    torch.manual_seed(0)
    return Net().train()
"""


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_the_opset_that_is_asked_for_is_the_one_in_the_file(tmp_path: Path, exporter: str, opset: int) -> None:
    file = net(tmp_path, CNN, {"opset": opset}, factory="model.py:make", exporter=exporter)
    if (exporter, opset) == ("dynamo", 13):  # it writes 18, and cannot take BatchNormalization this far down
        with pytest.raises(SourceError, match="opset 13 cannot be had: the export has 18"):
            export_here(file, tmp_path / "out")
        return
    made = export_here(file, tmp_path / "out")
    assert made.model.opset == opset
    assert [(entry.domain, entry.version) for entry in made.proto.opset_import] == [("", opset)]
    assert "Dropout" not in made.model.ops
    require_parity("opset", made.rows())


def test_a_split_is_valid_below_the_opset_of_its_attribute(tmp_path: Path) -> None:
    made = export_here(net(tmp_path, forward("x.chunk(2, 1)"), {"opset": 17}), tmp_path / "out")
    assert (made.model.opset, made.model.ops) == (17, ("Split",))
    require_parity("split", made.rows())


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_two_processes_export_the_same_bytes(tmp_path: Path, exporter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = net(tmp_path, CNN, factory="model.py:make", exporter=exporter)
    found = set()
    for name in ("one", "other"):
        monkeypatch.setenv("TZ", "UTC" if name == "one" else "Asia/Tokyo")
        found.add(export_in_child(file, tmp_path / name).model.path.read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def train(self, mode=True):\n        return self", "'' "),
        (
            "def train(self, mode=True):\n        super().train(mode)\n        self.drop.train()\n        return self",
            "drop",
        ),
    ],
    ids=["all", "a part"],
)
def test_a_module_that_stays_in_training_is_told(tmp_path: Path, body: str, words: str) -> None:
    code = forward("self.drop(x)").replace(
        "    def forward",
        "    def __init__(self):\n        super().__init__()\n        self.drop = torch.nn.Dropout()\n"
        f"    {body}\n    def forward",
    )
    message = refusal(net(tmp_path, code))
    assert message.startswith("after eval() these are still in training mode: ")
    assert words.strip("' ") in message


def failure(folder: Path, expression: str, exporter: str) -> SourceError:
    code = "import torch\n\n" + forward(
        f"self.inner(x)\n\n    def inner(self, x):\n        y = x + 1\n        return {expression}"
    )
    with pytest.raises(SourceError) as refused:
        export_here(net(folder, code, exporter=exporter), folder / "out")
    return refused.value


@pytest.mark.parametrize(
    ("exporter", "operator", "line"),
    [
        ("dynamo", "aten._linalg_eigh", "6: return self.inner(x)"),  # it knows the lines of forward methods alone
        ("torchscript", "aten::linalg_eigh", "10: return torch.linalg.eigh(y.T @ y)[0]"),
    ],
)
def test_a_failure_names_the_operator_and_the_users_line(
    tmp_path: Path, exporter: str, operator: str, line: str
) -> None:
    with patch.object(source, "_trial", return_value="tried"):
        (problem,) = failure(tmp_path, "torch.linalg.eigh(y.T @ y)[0]", exporter).problems
    assert problem.message.startswith(f"the {exporter} exporter failed: ")
    assert operator in problem.message
    assert problem.message.endswith(f"; model.py, line {line}")
    assert problem.hint == "tried"


def test_a_branch_on_data_names_its_line(tmp_path: Path) -> None:
    with patch.object(source, "_trial", return_value="tried"):
        (problem,) = failure(tmp_path, "y if y.sum() > 0 else x", "dynamo").problems
    assert "Could not guard on data-dependent expression" in problem.message
    assert problem.message.endswith("; model.py, line 10: return y if y.sum() > 0 else x")


def test_the_other_exporter_is_really_tried(tmp_path: Path) -> None:
    (problem,) = failure(tmp_path, "torch.fft.rfft(y).abs()", "torchscript").problems
    assert "operator 'aten::fft_rfft'" in problem.message
    assert problem.hint == (
        "set `exporter: dynamo`: it was tried, takes this model, and gives the same answers, at opset 18"
    )


def test_another_exporter_that_would_freeze_a_branch_is_not_advised(tmp_path: Path) -> None:
    (problem,) = failure(tmp_path, "y if x.sum() > -1e9 else x", "dynamo").problems  # both sizes take the same side
    assert problem.hint == (
        "`exporter: torchscript` was tried, and fails too: the torchscript exporter would freeze a branch or value "
        "that depends on the inputs; model.py, line 10: return y if x.sum() > -1e9 else x"
    )


def test_another_exporter_that_answers_otherwise_is_not_advised(tmp_path: Path) -> None:
    code = "x.repeat(int(x.shape[0]), 1) if torch.onnx.is_in_onnx_export() else torch.linalg.eigh(x.T @ x)[0]"
    with pytest.raises(SourceError) as refused:
        export_here(net(tmp_path, forward(code), exporter="dynamo"), tmp_path / "out")
    assert refused.value.problems[0].hint.startswith(
        "`exporter: torchscript` was tried, and fails too: its export answers otherwise at n "
    )


def test_a_trial_has_a_limit(tmp_path: Path) -> None:
    with patch.object(source, "_TRIAL_SECONDS", 0.01):
        (problem,) = failure(tmp_path, "torch.fft.rfft(y).abs()", "torchscript").problems
    assert problem.hint == "`exporter: dynamo` was tried, and fails too: stage 'exporter trial' took more than 0.01 s"


def test_an_opset_that_the_other_exporter_lacks_is_not_tried(tmp_path: Path) -> None:
    file = net(tmp_path, forward("torch.linalg.eigh(x.T @ x)[0]"), {"opset": 22}, exporter="dynamo")
    with pytest.raises(SourceError) as refused:
        export_here(file, tmp_path / "out")
    assert refused.value.problems[0].hint == "`exporter: torchscript` makes opset 20 at most"
