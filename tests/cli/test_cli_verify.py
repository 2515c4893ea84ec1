"""``onnxpack verify``: a table or JSON of what was compared, and the contract's exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

ROOT = Path(__file__).parents[2]

FAULTY = """
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        y = torch.relu(x)
        if torch.onnx.is_in_onnx_export():
            y = y + 1
        return y
"""


@pytest.fixture
def verify(tmp_path: Path) -> Any:
    """Run the command in a process of its own, in a folder of its own."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"ONNXPACK_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "onnxpack", "verify", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)

    return run


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "spec").mkdir()
    onnx.save(make_model(RELU), tmp_path / "spec/m.onnx")
    return write_spec(tmp_path / "spec", {"framework": "onnx", "path": "m.onnx"}).path


def test_a_table_goes_to_stdout_and_nothing_is_written(verify: Any, spec: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.rglob("*"))
    ended = verify(spec)
    assert ended.returncode == 0, ended.stderr
    head, row = ended.stdout.splitlines()
    assert head.split()[:2] == ["output", "compared"]
    assert head.split()[6:] == ["cosine", "SQNR", "argmax", "ties", "rtol", "atol", "passed"]
    assert row.split() == ["y", "10", "0", "0", "1.0000000", "-", "100.0%", "0", "0.001", "0.0001", "yes"]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"spec", "cache"}
    assert sorted(path.name for path in (tmp_path / "spec").iterdir()) == [
        name for name in before if name in ("m.onnx", "spec.yaml")
    ]


def test_json_has_the_reports_parity_and_settings_reach_it(verify: Any, spec: Path) -> None:
    ended = verify(spec, "--json", "--set", "verify.rtol=0.5")
    assert ended.returncode == 0, ended.stderr
    (document,) = json.loads(ended.stdout)
    assert (document["name"], document["target"]) == ("example", "cpu")
    parity = document["parity"]
    assert parity["passed"]
    assert (parity["comparisons"], parity["rtol"], parity["atol"]) == (10, 0.5, 1e-4)
    assert [row["name"] for row in parity["outputs"]] == ["y"]
    assert parity["notes"] == []


def test_a_wrong_export_shows_its_table_and_where_it_is_wrong(verify: Any, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(FAULTY)
    file = write_spec(tmp_path, {"framework": "torch", "factory": "nets.py:Net", "exporter": "torchscript"})
    ended = verify(file.path)
    assert ended.returncode == 4
    assert ended.stdout.splitlines()[1].endswith("NO: values")
    assert re.search(r"error: the exported model differs from its source: (\d+) of \1 comparisons differ", ended.stderr)
    assert re.search(r"at case \w+: the Add node '/source/Add' ", ended.stderr)
    assert "in the Net module, nets.py:5\n" in ended.stderr
    assert "Traceback" not in ended.stderr
    (document,) = json.loads(verify(file.path, "--json").stdout)
    assert not document["parity"]["passed"]


def test_usage_and_sources_have_their_own_codes(verify: Any, spec: Path) -> None:
    ended = verify(spec, "--target", "gpu")
    assert ended.returncode == 2
    assert "there is no target 'gpu'" in ended.stderr
    (spec.parent / "m.onnx").write_bytes(b"no model")
    assert verify(spec).returncode == 3
