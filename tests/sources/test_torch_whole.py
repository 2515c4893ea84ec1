"""Whole torch models in one file: TorchScript, torch.export and pickled modules, each only by its digest."""

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from canary import Canary
from exporting import export_here, write_spec
from torch_nets import LINEAR, refusal

from onnxpack.core.errors import SpecError
from onnxpack.parity.compare import require_parity
from onnxpack.spec.load import SpecFile

EXAMPLE = (torch.rand(2, 4),)
Write = Callable[[torch.nn.Module, Path], None]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit's own
        yield


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """One whose class can be imported, with dropout that is still on."""
    code = LINEAR.replace("self.linear(x)", "nn.functional.dropout(self.linear(x), 0.5, self.training)")
    (tmp_path / "whole_net.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "whole_net", raising=False)
    import whole_net

    torch.manual_seed(0)
    made: torch.nn.Module = whole_net.Net().train()
    return made


def traced(module: torch.nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.trace(module.eval(), EXAMPLE), path)


def scripted(module: torch.nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.script(module), path)


def exported(module: torch.nn.Module, path: Path) -> None:
    program = torch.export.export(module.eval(), EXAMPLE, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, path)


def pickled(module: torch.nn.Module, path: Path) -> None:
    torch.save(module, path)


def pickled_of_old(module: torch.nn.Module, path: Path) -> None:
    torch.save(module, path, _use_new_zipfile_serialization=False)


def spec(folder: Path, name: str, **model: Any) -> SpecFile:
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return write_spec(folder, {"framework": "torch", "path": name, "sha256": digest} | model)


@pytest.mark.parametrize(
    ("write", "name", "exporter"),
    [
        (traced, "m.pt", "torchscript"),
        (scripted, "m.pt", "torchscript"),
        (exported, "m.pt2", "dynamo"),
        (exported, "m.pt2", "torchscript"),
        (pickled, "m.pt", "dynamo"),
        (pickled_of_old, "m.pth", "torchscript"),
    ],
)
def test_a_whole_model_is_exported(
    module: torch.nn.Module, tmp_path: Path, write: Write, name: str, exporter: str
) -> None:
    write(module, tmp_path / name)
    made = export_here(spec(tmp_path, name, exporter=exporter), tmp_path / "out")
    assert [(info.name, info.shape) for info in made.model.outputs] == [("output", ("n", 2))]
    require_parity(name, made.rows())


def test_branches_of_torchscript_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And dictionaries keep their keys."""
    code = "import torch\nfrom typing import Dict\nclass Net(torch.nn.Module):\n    def forward(self, x, y):\n"
    code += "        # type: (torch.Tensor, torch.Tensor) -> Dict[str, torch.Tensor]\n"
    code += "        z = x * y\n        if x.sum() > 0:\n            z = x - y\n        return {'z': z, 'w': x}\n"
    (tmp_path / "branching.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    import branching

    torch.jit.save(torch.jit.script(branching.Net()), tmp_path / "m.pt")
    inputs = {name: {"dtype": "float32", "shape": ["n", 4]} for name in ("y", "x")}
    digest = hashlib.sha256((tmp_path / "m.pt").read_bytes()).hexdigest()
    model = {"framework": "torch", "path": "m.pt", "sha256": digest, "exporter": "torchscript"}
    made = export_here(write_spec(tmp_path, model, inputs=inputs), tmp_path / "out")
    assert "If" in made.model.ops
    assert [info.name for info in (*made.model.inputs, *made.model.outputs)] == ["y", "x", "z", "w"]
    require_parity("branches", made.rows())


@pytest.mark.case("M1")
@pytest.mark.parametrize("write", [traced, exported, pickled])
def test_without_its_digest_nothing_is_loaded(module: torch.nn.Module, tmp_path: Path, write: Write) -> None:
    write(module, tmp_path / "m.pt")
    digest = hashlib.sha256((tmp_path / "m.pt").read_bytes()).hexdigest()
    with pytest.raises(SpecError) as refused:
        write_spec(tmp_path, {"framework": "torch", "path": "m.pt"})
    (problem,) = refused.value.problems
    assert problem.message == "loading 'm.pt' can run any code in it, so its digest is required"
    assert problem.hint.endswith(f"sha256: {digest}")


def test_a_file_that_changed_after_the_check_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"harmless")
    file = spec(tmp_path, "m.pt")
    torch.save(Canary(tmp_path / "ran"), tmp_path / "m.pt")
    assert "'m.pt' changed after its digest was checked" in refusal(file)
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "m.pt", weights_only=False)
    assert (tmp_path / "ran").exists(), "the canary must be able to sing"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"a": torch.ones(1)},
            "'m.pt' holds weights without code (name it in `model.weights`, and the code in `model.factory`)",
        ),
        ([1, 2], "'m.pt' holds a list"),
    ],
)
def test_a_file_with_something_else_is_told(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "m.pt")
    assert words in refusal(spec(tmp_path, "m.pt"))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 nothing", bytes(range(200))])
def test_a_broken_file_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(data)
    assert refusal(spec(tmp_path, "m.pt")).startswith("cannot load 'm.pt': ")


@pytest.mark.case("M1")
def test_a_torn_torchscript_file_is_told(module: torch.nn.Module, tmp_path: Path) -> None:
    traced(module, tmp_path / "m.pt")
    data = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(data.replace(b"torch", b"tarch"))
    assert refusal(spec(tmp_path, "m.pt", exporter="torchscript")).startswith("cannot load 'm.pt': ")


def test_a_class_that_cannot_be_imported_is_named(module: torch.nn.Module, tmp_path: Path) -> None:
    pickled(module, tmp_path / "m.pt")
    file = spec(tmp_path, "m.pt")
    (tmp_path / "whole_net.py").unlink()
    del sys.modules["whole_net"]
    assert "cannot load 'm.pt': ModuleNotFoundError: No module named 'whole_net'" in refusal(file)


def test_torchscript_is_refused_for_dynamo_and_taken_where_the_exporter_is_left_out(
    module: torch.nn.Module, tmp_path: Path
) -> None:
    traced(module, tmp_path / "m.pt")
    message = refusal(spec(tmp_path, "m.pt", exporter="dynamo"))
    assert (
        message == "the dynamo exporter cannot read TorchScript (set `exporter: torchscript`, or leave `exporter` out)"
    )
    made = export_here(spec(tmp_path, "m.pt"), tmp_path / "out")
    assert made.exported.exporter == "torchscript"
    assert list(made.reference.notes) == [
        "exported by torchscript: the model holds TorchScript, which dynamo cannot read"
    ]
    require_parity("whole", made.rows())
