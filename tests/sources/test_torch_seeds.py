"""Two exports of a torch model give the same bytes, whatever the process, its hash seed and the folder are."""

import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting import write_spec
from safetensors.torch import save_file

from onnxpack.core.values import MODEL

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.branches = nn.ModuleDict({name: nn.Linear(4, 3) for name in ("a", "b", "c")})
        self.norm = nn.LayerNorm(3)

    def forward(self, x):
        found = {name: self.norm(branch(x)) for name, branch in self.branches.items()}
        return found | {"sum": sum(found.values())}
"""
RUN = """
import sys
from pathlib import Path
from onnxpack.sources.export import export_model
from onnxpack.spec.load import load
folder = Path(sys.argv[1])
(folder / "out").mkdir()
export_model(load(folder / "spec.yaml"), folder / "out")
"""


def prepared(folder: Path, form: str) -> None:
    """A spec of the same network: as code and weights for either exporter, or whole in a file."""
    (folder / "net.py").write_text(CODE)
    namespace: dict[str, Any] = {}
    exec(CODE, namespace)
    module: torch.nn.Module = namespace["Net"]().eval()
    example = (torch.rand(2, 4),)
    model: dict[str, Any] = {"framework": "torch", "path": form}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit's own
        if form == "script.pt":
            torch.jit.save(torch.jit.trace(module, example, strict=False), folder / form)
            model["exporter"] = "torchscript"
        elif form == "program.pt2":
            axes = ({0: torch.export.Dim.DYNAMIC},)
            torch.export.save(torch.export.export(module, example, dynamic_shapes=axes), folder / form)
        else:
            save_file(module.state_dict(), folder / "w.safetensors")
            model = {"framework": "torch", "factory": "net.py:Net", "weights": "w.safetensors", "exporter": form}
    if "path" in model:
        model["sha256"] = hashlib.sha256((folder / form).read_bytes()).hexdigest()
    write_spec(folder, model)


@pytest.mark.parametrize("form", ["dynamo", "torchscript", "script.pt", "program.pt2"])
def test_two_processes_export_the_same_bytes(tmp_path: Path, form: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    prepared(first, form)
    shutil.copytree(first, second)
    command = [sys.executable, "-c", RUN]
    running = [
        subprocess.Popen([*command, str(folder)], env=os.environ | {"PYTHONHASHSEED": str(seed)}, stderr=-1)
        for seed, folder in enumerate((first, second), 1)
    ]
    for process in running:
        _, words = process.communicate()
        assert process.returncode == 0, words.decode()
    made = [(folder / "out" / MODEL).read_bytes() for folder in (first, second)]
    assert made[0] == made[1]
    assert bytes(tmp_path) not in made[0]
