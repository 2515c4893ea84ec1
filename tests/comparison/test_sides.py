"""Every kind of argument becomes a side, and what is none is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Ended

from onnxpack.comparison.sides import read_side
from onnxpack.core.errors import SpecError

REPORT: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/report/full.json").read_text())
SPEC = """\
onnxpack: 1
name: small
model: {framework: onnx, path: model.onnx}
inputs: {x: {dtype: float32, shape: [n, 4]}}
dynamic_axes: {n: {min: 1, max: 16}}
targets: {cpu: {device: cpu}, other: {device: cpu}}
"""


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "dist/scans/cpu"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(REPORT))
    return folder


def test_a_report_and_the_folder_around_it_are_the_same(output: Path) -> None:
    report, folder = read_side(str(output / "report.json"), None), read_side(str(output), None)
    assert (report.facts.kind, folder.facts.kind) == ("report", "bundle")
    assert report.facts.sections == folder.facts.sections


def test_a_spec_here_is_read_with_its_lock_if_it_has_one(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "model.onnx").touch()
    side = read_side(str(tmp_path / "spec.yaml"), "other")
    assert side.facts.title == "small other"
    assert side.notes == (f"{tmp_path / 'spec.yaml'} has no spec.lock",)
    with pytest.raises(SpecError, match="several targets: cpu, other"):
        read_side(str(tmp_path / "spec.yaml"), None)
    with pytest.raises(SpecError, match="no target 'third'"):
        read_side(str(tmp_path / "spec.yaml"), "third")


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"name": "a", "target": "b", "status": "passed"}', json.dumps(REPORT | {"image": 5}),
    json.dumps(REPORT | {"packages": [1]}),
])  # fmt: skip
def test_what_is_no_report_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(SpecError):
        read_side(str(tmp_path / "report.json"), None)


def test_a_folder_of_specs_and_a_model_are_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08")
    for argument in (tmp_path / "model.onnx", tmp_path / "nothing.json"):
        with pytest.raises(SpecError):
            read_side(str(argument), None)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(SpecError, match="cannot compare this"):
        read_side(str(tmp_path), None)


def test_the_command_says_what_differs_and_ends_as_it_is_asked_to(output: Path, onnxpack: Callable[..., Ended]) -> None:
    newer = output.with_name("newer")
    shutil.copytree(output, newer)
    (newer / "report.json").write_text(json.dumps(REPORT | {"model": REPORT["model"] | {"opset": 18}}))
    assert onnxpack("diff", output, output, "--detailed-exitcode").code == 0
    assert onnxpack("diff", output, newer).code == 0
    ended = onnxpack("diff", output, newer, "--detailed-exitcode")
    assert (ended.code, ended.err) == (2, "")
    assert ended.out.splitlines()[1:] == ["", "model", "  opset  17  18", "", "1 difference"]
    document = json.loads(onnxpack("diff", output, newer, "--json").out)
    assert document["differences"][0]["new"] == 18
    assert "| `opset` | `17` | `18` |" in onnxpack("diff", output, newer, "--format", "markdown").out


def test_the_command_tells_what_it_cannot_read(tmp_path: Path, onnxpack: Callable[..., Ended]) -> None:
    ended = onnxpack("diff", tmp_path / "a.json", tmp_path / "b.json")
    assert (ended.code, ended.out) == (2, "")
    assert "there is no such file" in ended.err
