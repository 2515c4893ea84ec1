"""What an export's request counts of a spec: the fields that it reads, and the files that these name."""

import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.pipeline.export import export_task
from onnxpack.spec.load import SpecFile
from onnxpack.worker.codec import digest_value


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    folder = tmp_path / "spec"
    folder.mkdir()
    onnx.save(make_model(RELU), folder / "m.onnx")
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"})


def key(file: SpecFile) -> str:
    return digest_value(export_task(file))


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"opset": 18}, False),
        ({"outputs": ["z"]}, False),
        ({"verify": {"seed": 1}}, False),
        ({"dynamic_axes": {"n": [1, 17]}}, False),
        ({"name": "other", "version": "2", "description": "Words"}, True),
        ({"targets": {"gpu": {"device": "cuda"}}, "image": {"env": {"A": "b"}}}, True),
    ],
)
def test_the_key_is_the_export_stages_alone(file: SpecFile, fields: dict[str, Any], same: bool) -> None:
    before = key(file)
    other = write_spec(file.root, {"framework": "onnx", "path": "m.onnx"}, **fields)
    assert (key(other) == before) == same


def test_the_key_changes_with_the_models_file(file: SpecFile) -> None:
    before = key(file)
    content = (file.root / "m.onnx").read_bytes()
    (file.root / "m.onnx").write_bytes(content + b"\n")
    changed = key(file)
    (file.root / "m.onnx").unlink()
    assert len({before, changed, key(file)}) == 3
    (file.root / "m.onnx").write_bytes(content)
    assert key(file) == before


def test_a_checkout_elsewhere_has_the_same_key(file: SpecFile, tmp_path: Path) -> None:
    before = key(file)
    moved = Path(shutil.copytree(file.root, tmp_path / "elsewhere"))
    assert key(write_spec(moved, {"framework": "onnx", "path": "m.onnx"})) == before
