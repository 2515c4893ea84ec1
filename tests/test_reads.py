"""An export's key is made of what the export read, and changes with each part of it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import export_in_child, write_spec
from onnx_examples import RELU, WEIGHTS, external_model, make_model

from onnxpack.errors import SourceError
from onnxpack.reads import remember, remembered
from onnxpack.spec.load import SpecFile
from onnxpack.store import Store

FILES = ["m.onnx", "helper.py"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    folder = tmp_path / "spec"
    folder.mkdir()
    onnx.save(make_model(RELU), folder / "m.onnx")
    (folder / "helper.py").write_text("WIDTH = 4\n")
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"})


def test_what_was_never_exported_has_no_key(store: Store, file: SpecFile) -> None:
    assert remembered(store, file) is None


def test_the_key_is_the_same_while_nothing_changes(store: Store, file: SpecFile) -> None:
    key = remember(store, file, FILES, {"numpy": "2"}, time.time_ns())
    assert remembered(store, file) == key
    os.utime(file.root / "helper.py")
    assert remembered(store, file) == key, "only the contents count"


@pytest.mark.parametrize("name", FILES)
def test_the_key_changes_with_every_file(store: Store, file: SpecFile, name: str) -> None:
    key = remember(store, file, FILES, {}, time.time_ns())
    text = (file.root / name).read_bytes()
    (file.root / name).write_bytes(text + b"\n")
    changed = remembered(store, file)
    (file.root / name).unlink()
    assert len({key, changed, remembered(store, file)}) == 3
    (file.root / name).write_bytes(text)
    assert remembered(store, file) == key


def test_the_key_changes_with_a_distribution(store: Store, file: SpecFile, monkeypatch: pytest.MonkeyPatch) -> None:
    key = remember(store, file, FILES, {"numpy": "2", "gone": "1"}, time.time_ns())
    monkeypatch.setattr("onnxpack.reads.version", lambda name: "99")
    assert remembered(store, file) not in (None, key)


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
def test_the_key_is_the_export_stages_alone(store: Store, file: SpecFile, fields: dict[str, Any], same: bool) -> None:
    key = remember(store, file, FILES, {}, time.time_ns())
    other = write_spec(file.root, {"framework": "onnx", "path": "m.onnx"}, **fields)
    assert (remembered(store, other) == key) == same


def test_a_checkout_elsewhere_has_the_same_key(store: Store, file: SpecFile, tmp_path: Path) -> None:
    key = remember(store, file, FILES, {}, time.time_ns())
    moved = Path(shutil.copytree(file.root, tmp_path / "elsewhere"))
    assert remembered(store, write_spec(moved, {"framework": "onnx", "path": "m.onnx"})) == key


def test_a_file_that_changed_during_the_export_is_refused(store: Store, file: SpecFile) -> None:
    began = time.time_ns()
    os.utime(file.root / "helper.py", ns=(began + 1, began + 1))
    with pytest.raises(SourceError, match=r"'helper.py' changed while it was exported"):
        remember(store, file, FILES, {}, began)
    assert remembered(store, file) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": 3, "distributions": []}'])
def test_a_broken_list_is_no_list(store: Store, file: SpecFile, text: str) -> None:
    remember(store, file, FILES, {}, time.time_ns())
    (listed,) = (store.root / "reads").iterdir()
    listed.write_text(text)
    assert remembered(store, file) is None


RECORD = """
import sys
from pathlib import Path
from onnxpack.export import _record_reads
root = Path(sys.argv[1])
sys.prefix = sys.base_prefix = str(root.parent)
found = _record_reads(root)
sys.path.insert(0, str(root / "sub"))
import helper
open(root / "data.txt").close()
open(root / "sub/../data2.txt", "rb").close()
open(root / "written.txt", "w").close()
open(sys.executable, "rb").close()
print(sorted(found))
"""


def test_every_file_below_the_root_that_is_read_is_recorded(tmp_path: Path) -> None:
    """Even where the project lies below Python's own prefix, as ``/usr/src/app`` does."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub/helper.py").write_text("import other\n")
    (root / "sub/other.py").write_text("")
    for name in ("data.txt", "data2.txt"):
        (root / name).touch()
    command = [sys.executable, "-c", RECORD, str(root)]
    expected = ["data.txt", "sub/../data2.txt", "sub/helper.py", "sub/other.py"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(2):  # the second time from the compiled files
        result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert result.stdout.strip() == str(expected)
    assert (root / "sub/__pycache__").is_dir()


MODEL = """
import torch
from parts import WIDTH

class Net(torch.nn.Module):
    def forward(self, x):
        return x * WIDTH
"""


def test_an_export_tells_the_helpers_and_the_data_that_it_read(tmp_path: Path) -> None:
    spec = tmp_path / "spec"
    spec.mkdir()
    (spec / "model.py").write_text(MODEL)
    (spec / "parts.py").write_text(
        "from pathlib import Path\n\nWIDTH = int((Path(__file__).parent / 'width.txt').read_text())\n"
    )
    (spec / "width.txt").write_text("3")
    (spec / "unread.py").touch()
    model = {"framework": "torch", "factory": "model.py:Net", "exporter": "torchscript"}
    made = export_in_child(write_spec(spec, model), tmp_path / "out")
    assert list(made.trace.files) == ["model.py", "parts.py", "width.txt"]
    assert "torch" in made.trace.distributions


def test_external_data_is_a_part_of_what_is_read(tmp_path: Path) -> None:
    """The runtime and onnx read it natively, where no hook of Python's sees it."""
    spec = tmp_path / "spec"
    spec.mkdir()
    onnx.save(external_model(location="w.data"), spec / "m.onnx")
    (spec / "w.data").write_bytes(WEIGHTS.tobytes())
    made = export_in_child(write_spec(spec, {"framework": "onnx", "path": "m.onnx"}), tmp_path / "out")
    assert list(made.trace.files) == ["m.onnx", "w.data"]
