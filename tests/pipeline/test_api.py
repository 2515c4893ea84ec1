"""The functions that ``import onnxpack`` gives, and the examples of their page."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model
from told import Told

import onnxpack
from onnxpack.cache.store import Store
from onnxpack.core.errors import OnnxpackError, SpecError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "m.onnx").write_bytes(make_model(RELU, [("x", 1, ["b", 4])], [("y", 1, ["b", 4])]).SerializeToString())
    fields = {"inputs": {"x": {"dtype": "float32", "shape": ["b", 4]}}, "dynamic_axes": {"b": [1, 8]}}
    return write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields).path


def test_import_of_the_package_imports_no_framework_and_none_of_its_modules() -> None:
    code = (
        "import sys, onnxpack; print([name for name in sys.modules if name.startswith(('onnxpack.', 'onnx', 'torch'))])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "['onnxpack']"


def test_public_functions_are_all_there_and_nothing_else_is() -> None:
    assert {name: callable(getattr(onnxpack, name)) for name in onnxpack.__all__} == dict.fromkeys(
        ("build", "load", "plan", "verify"), True
    )
    with pytest.raises(AttributeError, match="no attribute 'bulid'"):
        onnxpack.bulid  # noqa: B018


def test_build_of_a_plan_leaves_what_the_command_leaves(spec: Path, tmp_path: Path) -> None:
    store, told = Store(tmp_path / "store"), Told()
    plan = onnxpack.plan(onnxpack.load(spec), output=tmp_path / "dist")
    assert onnxpack.verify(plan, store=store).max_abs_diff == 0
    attempt = onnxpack.build(plan, until="optimize", store=store, progress=told)
    assert attempt.passed
    assert attempt.plan.output == plan.output.with_name("cpu.optimize")
    assert sorted(path.name for path in attempt.plan.output.iterdir()) == ["model.onnx", "report.html", "report.json"]
    assert told.lines


def test_build_of_what_fails_raises_and_leaves_a_report(spec: Path, tmp_path: Path) -> None:
    plan = onnxpack.plan(onnxpack.load(spec), output=tmp_path / "dist")
    (tmp_path / "m.onnx").write_bytes(b"no model any more")
    with pytest.raises(OnnxpackError, match="ONNX"):
        onnxpack.build(plan, until="verify", store=Store(tmp_path / "store"))
    assert sorted(path.name for path in (tmp_path / "dist/example/cpu.verify").iterdir()) == [
        "report.html",
        "report.json",
    ]


def test_plan_of_an_unknown_target_names_those_there_are(spec: Path) -> None:
    loaded = onnxpack.load(spec, ["targets.gpu.device=cuda", "targets.cpu.device=cpu"])
    with pytest.raises(SpecError, match="several targets"):
        onnxpack.plan(loaded)
    with pytest.raises(SpecError, match="there is no target 'cup'"):
        onnxpack.plan(loaded, "cup")


def test_build_until_an_unknown_stage_is_refused(spec: Path) -> None:
    with pytest.raises(ValueError, match="there is no stage 'bundel'"):
        onnxpack.build(onnxpack.plan(onnxpack.load(spec)), until="bundel")


def test_examples_of_the_page_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    shutil.copytree(ROOT / "specs/iris", tmp_path / "specs/iris")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == "iris ['cpu']"
    assert ended.stdout.splitlines()[-1].startswith("2 ")
