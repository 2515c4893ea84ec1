"""The first two stages of a build: what they give, and what never enters the parent process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx
import pytest
from exporting import export_here, write_spec
from onnx_examples import MATMUL, RELU, constant, make_model

from onnxpack.core.errors import SourceError
from onnxpack.graph import external_data
from onnxpack.parity.compare import require_parity
from onnxpack.pipeline.export import export_task
from onnxpack.spec.load import load
from onnxpack.spec.part import list_named_files

SPECS = Path(__file__).parents[2] / "specs"

BUILD = """
import contextlib, json, sys
from dataclasses import asdict
from pathlib import Path

class Quiet:
    def stage(self, name):
        return contextlib.nullcontext()
    def note(self, text):
        pass
    def skip(self, name, why):
        pass

from onnxpack.pipeline.attempt import Wanted, build
from onnxpack.pipeline.run import Build
from onnxpack.pipeline.plan import Plan
from onnxpack.spec.load import load
from onnxpack.cache.store import Store

spec, cache, output = map(Path, sys.argv[1:])
attempt = build(Build(Plan(load(spec), "cpu", output), Store(cache), None, Quiet()), Wanted("verify"))
assert attempt.passed, attempt.error
print(json.dumps({
    "stages": [[stage.name, stage.cached] for stage in attempt.records],
    "parity": asdict(attempt.product.parity),
    "modules": sorted(sys.modules),
}))
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SPECS / "iris", tmp_path / "iris")) / "spec.yaml"


def build(spec: Path, folder: Path) -> dict[str, object]:
    command = [sys.executable, "-c", BUILD, str(spec), str(folder / "cache"), str(folder / "dist/iris/cpu")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"HOME": str(folder)})
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


def test_the_parent_of_export_and_verify_imports_no_framework(spec: Path, tmp_path: Path) -> None:
    first = build(spec, tmp_path)
    assert first["stages"] == [["export", False], ["verify", False]]
    assert {"torch", "sklearn", "skl2onnx", "onnx", "onnxruntime", "joblib"} & set(first["modules"]) == set()  # type: ignore[call-overload]
    parity = first["parity"]
    assert parity["passed"]  # type: ignore[index]
    assert parity["comparisons"] >= 8  # type: ignore[index]
    left = sorted(path.name for path in (tmp_path / "dist/iris/cpu").iterdir())
    assert left == ["model.onnx", "report.html", "report.json"]
    assert not (tmp_path / ".cache").exists(), "nothing may be written below the home folder"
    second = build(spec, tmp_path)
    assert second["stages"] == [["export", True], ["verify", True]]
    assert second["parity"] == first["parity"]


def test_a_model_over_the_limit_has_its_data_beside_it(tmp_path: Path) -> None:
    onnx.save(make_model(MATMUL, constants=[constant("w", _square(256))]), tmp_path / "m.onnx")
    fields = {"inputs": {"x": {"dtype": "float32", "shape": ["n", 256]}}}
    model = make_model(MATMUL, [("x", 1, ["b", 256])], [("y", 1, ["b", 256])], [constant("w", _square(256))])
    onnx.save(model, tmp_path / "m.onnx")
    with patch.object(external_data, "EXTERNAL_DATA_OVER", 1000):
        made = export_here(write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields), tmp_path / "out")
    assert sorted(path.name for path in made.folder.iterdir()) == ["model.onnx", "model.onnx.data", "reference"]
    assert (made.folder / "model.onnx.data").stat().st_size == 256 * 256 * 4
    assert made.model.size_bytes > 256 * 256 * 4
    require_parity("external", made.rows())


def _square(size: int) -> object:
    import numpy as np

    return np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)


def test_a_framework_that_is_not_installed_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.py").touch()
    file = write_spec(tmp_path, {"framework": "torch", "factory": "model.py:Net"})
    monkeypatch.delitem(sys.modules, "onnxpack.sources.torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SourceError) as refused:
        export_here(file, tmp_path / "out")
    assert str(refused.value) == "'torch' is not installed, and torch models need it (pip install 'onnxpack[torch]')"


def test_the_files_that_a_spec_names_are_in_the_exports_request(tmp_path: Path) -> None:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    (tmp_path / "s.npz").touch()
    model = {"framework": "onnx", "path": "m.onnx"}
    file = write_spec(tmp_path, model, verify={"samples": "s.npz"})
    assert list_named_files(export_task(load(file.path)).spec.file) == ("m.onnx", "s.npz")


@pytest.mark.parametrize(("field", "other"), [("task", None), ("pooling", "max"), ("normalize", False)])
def test_what_a_folder_of_transformers_is_for_is_in_the_exports_key(field: str, other: Any, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text("{}")
    (tmp_path / "m/model.safetensors").touch()
    model: dict[str, Any] = {"framework": "transformers", "path": "m", "task": "feature-extraction"}
    model |= {"pooling": "cls", "normalize": True}
    first, second = (
        export_task(write_spec(tmp_path, {name: value for name, value in fields.items() if value is not None})).spec
        for fields in (model, model | {field: other})
    )
    assert first.key_form() != second.key_form()
