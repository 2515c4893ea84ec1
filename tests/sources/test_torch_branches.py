"""A TorchScript trace that would freeze what depends on data is refused; what depends on sizes or parameters is not."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from exporting import Made, export_here
from torch_nets import net

from onnxpack.core.errors import SourceError
from onnxpack.parity.compare import require_parity
from onnxpack.sources.torch.lines import only_raises

HEAD = """
import torch

@torch.jit.script
def scripted(x):
    if x.sum() > 0:
        x = x * 3
    return x

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("memory", torch.zeros(4))
        self.scale = torch.full((4,), 3.0)

    def forward(self, x):
"""
FIRST = HEAD.count("\n") + 1
"""The line of the body that a test gives."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and torch.tensor wants no tensors
        yield


def export(folder: Path, body: str, **model: Any) -> Made:
    code = HEAD + "".join(f"        {line}\n" for line in body.splitlines())
    return export_here(net(folder, code, **{"exporter": "torchscript"} | model), folder / "out")


def refused(folder: Path, body: str, **model: Any) -> SourceError:
    with pytest.raises(SourceError) as error:
        export(folder, body, **model)
    assert error.value.exit_code == 3
    return error.value


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("if x.max() > 10:\n    x = x / x.max()\nreturn x * 2", 0),
        ("return x * 2 if x.sum() > 0 else x", 0),
        ("while x.abs().max() > 0.5:\n    x = x / 2\nreturn x", 0),
        ("for _ in range(int(x[0, 0].abs() * 3)):\n    x = x + 1\nreturn x", 0),
        ("y = x + 1\nreturn y * x.max().item()", 1),
        ("return x * float(x.max())", 0),
        ("return x * float(x.numpy().max())", 0),
        ("return x * max(x.reshape(-1).tolist())", 0),
        ("return x * torch.tensor([x.max(), 1.0, 1.0, 1.0])", 0),
        ("return x * torch.tensor(x.max())", 0),
        ("mask = x > 0\nreturn x if bool(mask.any()) else -x", 1),
        ("return x * 2 if torch.equal(x, x.abs()) else x", 0),
        ("return x * 2 if 1.0 in x else x", 0),
        ("y = x[x > 0]\nreturn x * 2 if y.shape[0] > 3 else x", 1),
        ("return x * 2 if len(x.nonzero()) > 3 else x", 0),
        ("rows = torch.zeros(4)\nrows[:] = x[0]\nreturn x * 2 if rows.sum() > 0 else x", 2),
        ("self.memory[:2].copy_(x[0, :2])\nreturn x * 2 if self.memory.sum() > 0 else x", 1),
        ("y = scripted(x)\nreturn x * 2 if y.sum() > 0 else x", 1),
    ],
)
def test_what_depends_on_data_is_refused_with_its_line(tmp_path: Path, body: str, line: int) -> None:
    (problem,) = refused(tmp_path, body).problems
    assert problem.message == (
        "the torchscript exporter would freeze a branch or value that depends on the inputs; "
        f"model.py, line {FIRST + line}: {body.splitlines()[line].strip()}"
    )
    assert "torch.where(condition, a, b)" in problem.hint


def test_a_loop_over_a_dynamic_axis_is_refused(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "return torch.stack([row * 2 for row in x])").problems
    assert problem.message.startswith(
        f"the torchscript exporter would freeze the number of steps of a loop over a tensor; model.py, line {FIRST}: "
    )


def test_all_lines_are_told_at_once(tmp_path: Path) -> None:
    error = refused(tmp_path, "if x.sum() > 0:\n    x = x + 1\nif x.max() > 0:\n    x = x * 2\nreturn x")
    assert [problem.message.partition("line ")[2][:2] for problem in error.problems] == [str(FIRST), str(FIRST + 2)]


def test_a_branch_is_told_where_the_export_fails_besides(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "x = torch.fft.rfft(x).abs()\nreturn x * 2 if x.sum() > 0 else x").problems
    assert "would freeze a branch" in problem.message


@pytest.mark.parametrize(
    "body",
    [
        "if x.shape[0] == 1:\n    x = x + 0\nassert x.shape[1] == 4\nreturn x.reshape(x.size(0), -1) / x.size(1)",
        "y = x.new_ones(x.numel() // 4, 4)\nreturn x + y if y.dim() == 2 and len(y) >= 0 else x",
        "if self.scale.sum() > 1:\n    x = x * self.scale\nreturn x + self.memory.max().item()",
        "if torch.zeros_like(x).sum() == 0 and x.new_zeros(3).sum() == 0:\n    x = x + 1\nreturn x",
        "first, *more = x.T\nreturn torch.stack([first, *more], 1) * 2",
        "y = x[torch.arange(x.shape[0])]\nreturn y * 2 if y.shape[1] == 4 else x",
        "return scripted(x)",
        "return torch.where(x.max() > 1, x / x.max(), x)",
        "f'{x.max()}'\nreturn x * 2",
        "assert not torch.isnan(x).any()\ntorch._assert(x.abs().max() < 1e9, 'far')\nreturn x * 2",
        "if torch.isinf(x).any():\n    raise ValueError('infinite')\nreturn x * 2",
    ],
    ids=["size", "sizes", "parameters", "like", "steps", "indices", "scripted", "where", "shown", "assert", "raise"],
)
def test_what_does_not_depend_on_data_is_exported(tmp_path: Path, body: str) -> None:
    require_parity("benign", export(tmp_path, body).rows())


@pytest.mark.parametrize(
    ("exporter", "body"),
    [
        ("dynamo", "return torch.where(x.max() > 1, x / x.max(), x)"),
        ("dynamo", "return torch.cond(x.sum() > 0, lambda y: y * 2, lambda y: y - 1, (x,))"),
        ("torchscript", "return scripted(x)"),
    ],
)
def test_what_the_hint_advises_works(tmp_path: Path, exporter: str, body: str) -> None:
    require_parity("advised", export(tmp_path, body, exporter=exporter).rows())


def test_the_models_of_torch_that_check_their_masks_are_taken(tmp_path: Path) -> None:
    code = (
        "import torch\n\ndef Net():\n    torch.manual_seed(0)\n"
        "    layer = torch.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)\n"
        "    return torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)\n"
    )
    inputs = {"x": {"dtype": "float32", "shape": ["n", 3, 4]}}
    file = net(tmp_path, code, {"inputs": inputs}, exporter="torchscript")
    require_parity("encoder", export_here(file, tmp_path / "out").rows())


@pytest.mark.parametrize(
    ("code", "line", "expected"),
    [
        ("assert x.any(), 'none'\n", 1, True),
        ("assert (\n    x.any()\n)\n", 2, True),
        ("if x.any():\n    raise ValueError\n", 1, True),
        ("if x.any(): raise ValueError\n", 1, True),
        ("if x.any():\n    raise ValueError\nelse:\n    y = 1\n", 1, False),
        ("if x.any():\n    y = 1\n    raise ValueError\n", 1, False),
        ("if x.any():\n    raise ValueError(x.max().item())\n", 2, False),
        ("y = x.any()\n", 1, False),
        ("this is no Python\n", 1, False),
    ],
)
def test_only_raises_tells_checks_from_branches(tmp_path: Path, code: str, line: int, expected: bool) -> None:
    path = tmp_path / "code.py"
    path.write_text(code)
    assert only_raises(str(path), line) == expected
