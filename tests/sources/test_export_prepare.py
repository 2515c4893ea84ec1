"""The model before ``prepare`` judges the export, and a factory that somebody forgot to give weights is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import Made, export_here
from torch_nets import net

from onnxpack.core.errors import GateError, SourceError
from onnxpack.core.values import REFERENCE
from onnxpack.data.test_inputs import read_arrays
from onnxpack.parity.compare import require_parity

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)
        self.norm.running_mean += 0.5
        self.norm.running_var *= 2

    def forward(self, x):
        return self.norm(self.linear(x))

class Tails(Net):
    def forward(self, x):
        y = super().forward(x)
        return {"y": y, "more": y * 2}

def fuse(net):
    net.linear = nn.utils.fusion.fuse_linear_bn_eval(net.linear, net.norm)
    net.norm = nn.Identity()
    return net

def fuse_in_place(net):
    fuse(net)

def drop(net):
    net.norm = nn.Identity()
    return net

class First(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)["y"]

class Scaled(First):
    def forward(self, x, scale):
        return self.net(x) * scale
"""


def export(folder: Path, fields: dict[str, Any] | None = None, **model: Any) -> Made:
    return export_here(net(folder, CODE, fields, **{"weights": None} | model), folder / "out")


@pytest.mark.parametrize("prepare", ["fuse", "fuse_in_place"])
def test_a_prepare_that_fuses_in_place_is_judged_by_the_model_before_it(tmp_path: Path, prepare: str) -> None:
    made = export(tmp_path, prepare=f"model.py:{prepare}")
    assert "BatchNormalization" not in made.model.ops
    assert made.reference.notes == ()
    inputs, expected = (
        read_arrays(made.folder / REFERENCE / f"{made.reference.cases[1]}.{part}.npz") for part in ("inputs", "outputs")
    )
    namespace: dict[str, Any] = {}
    exec(CODE, namespace)
    with torch.no_grad():
        original = namespace["Net"]().eval()(torch.from_numpy(inputs["x"])).numpy()
    np.testing.assert_array_equal(expected["output"], original)
    require_parity("fused", made.rows())


def test_a_prepare_that_drops_a_batch_norm_fails_with_exit_4(tmp_path: Path) -> None:
    with pytest.raises(GateError) as refused:
        export(tmp_path, prepare="model.py:drop")
    (problem,) = refused.value.problems
    assert refused.value.exit_code == 4
    assert problem.message == (
        "the prepared model differs from the model before `prepare: model.py:drop`: 4 of 4 comparisons differ"
    )
    assert "00_n1" in problem.detail


def test_tolerances_of_the_spec_decide_how_much_prepare_may_move(tmp_path: Path) -> None:
    made = export(tmp_path, {"verify": {"rtol": 1.0, "atol": 100.0}}, prepare="model.py:drop")
    assert made.reference.notes == ()


@pytest.mark.parametrize(
    ("factory", "prepare", "inputs", "reason"),
    [
        ("Tails", "First", ["x"], "`prepare` changes the number of outputs from 2 to 1"),
        ("Net", "Scaled", ["x", "scale"], "the model before it does not answer: forward takes (x); the spec's inputs"),
    ],
)
def test_a_prepare_that_changes_the_signature_is_judged_after_it_and_says_so(
    tmp_path: Path, factory: str, prepare: str, inputs: list[str], reason: str
) -> None:
    fields = {"inputs": {name: {"dtype": "float32", "shape": ["n", 4 if name == "x" else 1]} for name in inputs}}
    made = export(tmp_path, fields, factory=f"model.py:{factory}", prepare=f"model.py:{prepare}")
    (note,) = made.reference.notes
    assert note.startswith(f"the export is judged against the model after `prepare`: {reason}")
    require_parity("after", made.rows())


WEIGHTLESS = """
import random
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, kind="parameter"):
        super().__init__()
        self.fixed = nn.Parameter(torch.ones(4))
        if kind == "parameter":
            self.head = nn.Linear(4, 2)
        if kind == "buffer":
            self.register_buffer("noise", torch.from_numpy(np.random.rand(4)), persistent=False)
        if kind == "attribute":
            self.plain = torch.tensor([random.random()])
        if kind == "lazy":
            self.later = nn.LazyLinear(2)
        if kind == "half":
            self.small = nn.Parameter(torch.randn(3).bfloat16())

    def forward(self, x):
        return x * self.fixed

def seeded():
    torch.manual_seed(3)
    return Net()
"""


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("parameter", "head.weight, head.bias"),
        ("buffer", "noise"),
        ("attribute", "plain"),
        ("lazy", "later.weight, later.bias"),
        ("half", "small"),
    ],
)
def test_random_parameters_without_weights_fail_with_exit_3(tmp_path: Path, kind: str, names: str) -> None:
    file = net(tmp_path, WEIGHTLESS, weights=None, kwargs={"kind": kind})
    with pytest.raises(SourceError) as refused:
        export_here(file, tmp_path / "out")
    assert refused.value.exit_code == 3
    (problem,) = refused.value.problems
    assert problem.message == (
        f"model.py:Net gives random parameters: {names} differ between two random seeds, and the spec names no weights"
    )
    assert "`weights: none`" in problem.hint


@pytest.mark.parametrize(
    "model",
    [
        {"weights": None, "kwargs": {"kind": "nothing"}},
        {"weights": None, "factory": "model.py:seeded"},
        {"weights": "none"},
    ],
    ids=["constant", "seeded", "meant"],
)
def test_parameters_that_are_the_same_or_meant_are_taken(tmp_path: Path, model: dict[str, Any]) -> None:
    require_parity("the export", export_here(net(tmp_path, WEIGHTLESS, **model), tmp_path / "out").rows())


def test_random_parameters_that_are_meant_are_the_same_in_each_load(tmp_path: Path) -> None:
    from onnxpack.sources.torch import load

    file = net(tmp_path, WEIGHTLESS)
    one, other = load(file).state_dict(), load(file).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
