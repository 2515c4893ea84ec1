"""A spec beside a ``model.py`` with the given code, for tests of torch sources."""

from pathlib import Path
from typing import Any

import pytest
import torch
from exporting import write_spec

from onnxpack.core.errors import SourceError
from onnxpack.sources.torch import load
from onnxpack.spec.load import SpecFile

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.linear = nn.Linear(4, width)

    def forward(self, x):
        return self.linear(x)
"""
"""A module of one layer, for tests to add to."""
LINEAR = f"""{NET}
class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Net()

    def forward(self, x):
        return self.model(x)
"""
STATE = {"linear.weight": torch.arange(8.0).reshape(2, 4), "linear.bias": torch.tensor([1.0, -1.0])}


def net(folder: Path, code: str = LINEAR, fields: dict[str, Any] | None = None, **model: Any) -> SpecFile:
    """Write a spec of the code's ``Net``, whose own weights are meant where ``model`` names none; None is left out."""
    (folder / "model.py").write_text(code)
    given = {"framework": "torch", "factory": "model.py:Net", "weights": "none"} | model
    return write_spec(folder, {key: value for key, value in given.items() if value is not None}, **(fields or {}))


def forward(expression: str, parameters: str = "x") -> str:
    """The code of a module without weights."""
    return (
        "import dataclasses, typing, torch\n"
        "class Net(torch.nn.Module):\n"
        f"    def forward(self, {parameters}):\n"
        f"        return {expression}\n"
    )


def refusal(file: SpecFile) -> str:
    with pytest.raises(SourceError) as refused:
        load(file)
    assert all(problem.hint for problem in refused.value.problems)
    return str(refused.value)
