"""A torch model whose export computes something else: the operator, the module and the user's line are named."""

from pathlib import Path
from typing import Any

import pytest
from exporting import Made, export_here, write_spec

from onnxpack.core.values import MODEL
from onnxpack.diagnose import locate
from onnxpack.parity.compare import Tolerance
from onnxpack.spec.load import SpecFile

NETS = """
import torch

class Block(torch.nn.Module):
    def __init__(self, wrong):
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)
        self.act = torch.nn.GELU()
        self.wrong = wrong

    def forward(self, x):
        h = self.act(self.inner(x))
        if self.wrong and torch.onnx.is_in_onnx_export():
            h = h * 1.5  # line 14
        return x + h

class Net(torch.nn.Module):
    def __init__(self, wrong=1):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList([Block(index == wrong) for index in range(3)])
        self.norm = torch.nn.LayerNorm(4)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return torch.softmax(self.norm(x), -1)

class Early(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.Linear(4, 4)

    def forward(self, x):
        if torch.onnx.is_in_onnx_export():
            x = torch.sin(x)  # line 37
        return self.inner(x)

class Baked(torch.nn.Module):
    def forward(self, x, y):
        return x.reshape(int(x.shape[0]), 4) + y[:1].sum()  # line 42

class Cut(torch.nn.Module):
    def forward(self, x, y):
        x = torch.relu(x)
        return x[: int(x.shape[0])] + y[:1].sum()  # line 47

class Tail(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.Sequential(torch.nn.Linear(4, 4), Late())

    def forward(self, x):
        return self.inner(x) + x

class Late(torch.nn.Module):
    def forward(self, x):
        x = torch.tanh(x)
        if torch.onnx.is_in_onnx_export():
            x = x + 1  # line 62
        return x

class Chance(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.seed()  # another each time, whatever was set before
        self.inner = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(x)
"""
TWO = {
    "inputs": {"x": {"dtype": "float32", "shape": ["n", 4]}, "y": {"dtype": "float32", "shape": ["m", 4]}},
    "dynamic_axes": {"n": [1, 16], "m": [1, 16]},
}


def exported(folder: Path, name: str, exporter: str, **fields: Any) -> tuple[SpecFile, Made]:
    (folder / "nets.py").write_text(NETS)
    kwargs = fields.pop("kwargs", {})
    model = {"framework": "torch", "factory": f"nets.py:{name}", "exporter": exporter, "kwargs": kwargs}
    model["weights"] = "none"
    file = write_spec(folder, model, **fields)
    return file, export_here(file, folder / "out")


def located(file: SpecFile, made: Made) -> list[str]:
    """What is said about the cases that fail; some must."""
    reasons = {row.case: row.reason for row in reversed(made.rows()) if row.reason}
    assert reasons
    words = locate(file, made.model.path, made.reference, reasons, Tolerance())
    return [line for line in words.splitlines() if "onnx's reference evaluator" not in line]


@pytest.mark.parametrize(
    ("exporter", "node", "line"), [("dynamo", "'node_mul_", 14), ("torchscript", "'/source/blocks.1/Mul'", 15)]
)
def test_the_wrong_layer_is_named(tmp_path: Path, exporter: str, node: str, line: int) -> None:
    file, made = exported(tmp_path, "Net", exporter)
    (words,) = located(file, made)
    assert words.startswith(f"at case 00_n1: the Mul node {node}")
    assert words.endswith(
        f"is the first that differs from the source's, in the Block module 'blocks.1', nets.py:{line}"
    )


def test_what_comes_before_a_module_is_not_the_modules_fault(tmp_path: Path) -> None:
    (words,) = located(*exported(tmp_path, "Early", "dynamo"))
    assert words.startswith("at case 00_n1: the Sin node 'node_sin' ")
    assert words.endswith("in the Early module, nets.py:37")


def test_what_comes_after_a_modules_output_is_its_fault(tmp_path: Path) -> None:
    (words,) = located(*exported(tmp_path, "Tail", "dynamo"))
    assert words.startswith("at case 00_n1: the Add node 'node_add")
    assert words.endswith("in the Late module 'inner.1', nets.py:62")


def test_an_axis_that_is_baked_in_is_named_with_the_node_that_fails(tmp_path: Path) -> None:
    words = located(*exported(tmp_path, "Baked", "torchscript", **TWO))
    assert words == [
        "axis 'n' is baked in: it works at 2, the size that the export was made with, and fails at 1, 3, 8, 16; "
        "make the code independent of this size, or fix it in the spec",
        "the Reshape node '/source/Reshape' does not run",
        "at case 00_n1_m1: the Reshape node '/source/Reshape' (value '/source/Reshape_output_0') does not run, "
        "in the Baked module",
    ]


def test_an_axis_that_is_cut_off_is_named_with_the_line(tmp_path: Path) -> None:
    axis, place = located(*exported(tmp_path, "Cut", "torchscript", **TWO))
    assert axis.startswith("axis 'n' is baked in: it works at 2, ")
    assert "fails at 3, 8, 16" in axis
    assert place.startswith("at case 01_n3_m5: the Slice node '/source/Slice' ")
    assert "in the Cut module" in place


def test_a_stage_that_changes_the_export_is_told_from_the_exporter(tmp_path: Path) -> None:
    import onnx

    file, made = exported(tmp_path, "Net", "dynamo", kwargs={"wrong": None})
    assert {row.reason for row in made.rows()} == {""}
    changed = onnx.load(made.folder / MODEL)
    (node,) = (node for node in changed.graph.node if node.name == "node_linear_1")
    node.attribute.append(onnx.helper.make_attribute("alpha", 2.0)) if not node.attribute else None
    for attribute in node.attribute:
        if attribute.name == "alpha":
            attribute.f = 2.0
    onnx.save(changed, made.folder / MODEL)
    (words,) = located(file, made)
    assert words == (
        "at case 00_n1: the Gemm node 'node_linear_1' (value 'linear_1') is the first that differs from the source's"
    )


def test_source_that_loads_differently_is_not_blamed_on_the_export(tmp_path: Path) -> None:
    file, made = exported(tmp_path, "Chance", "dynamo")
    words = locate(file, made.model.path, made.reference, {"00_n1": "planted"}, Tolerance())
    assert words.splitlines()[0] == (
        "the first operator that differs was not found: the source answers differently each time it is loaded: "
        "set `model.weights`, or seed its randomness"
    )
