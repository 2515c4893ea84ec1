"""Whatever user code reads while it runs is part of a key, and so is the code of this package, by modules."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from test_runner_staleness import WIDTH, network

import onnxpack
from onnxpack.core.digests import digest_tree

SPEC: dict[str, Any] = {
    "onnxpack": 1,
    "name": "small",
    "model": {"framework": "onnx", "path": "m.onnx"},
    "inputs": {"x": {"dtype": "float32", "shape": ["batch", WIDTH], "range": [-1, 1]}},
    "dynamic_axes": {"batch": {"min": 1, "opt": 4, "max": 16}},
    "verify": {"atol": 100.0},  # what is ranged on few values is coarse, and that is not the matter here
    "gates": {"min_speedup": 0},
    "calibration": {"data": "data.py:calibrate"},
    "evaluation": {"data": "data.py:evaluate", "labels": "y", "metric": "judges.py:judge"},
    "targets": {"cpu": {"precision": "int8-static"}},
}
DATA = """
import os
from pathlib import Path
import numpy as np

HERE = Path(__file__).parent

def calibrate():
    for name in sorted(os.listdir(HERE / "pieces")):
        yield {"x": np.load(HERE / "pieces" / name)}

def evaluate():
    rows = np.random.default_rng(0).uniform(-1, 1, (32, 8)).astype(np.float32)
    return {"x": rows, "y": np.arange(32) % 3}
"""
JUDGES = """
from scale import FACTOR

def judge(outputs, labels):
    return FACTOR * float((outputs["logits"].argmax(1) == labels).mean())
"""


def run(folder: Path, store: Path, *arguments: str, code: Path | None = None) -> dict[str, Any]:
    """Build up to the precision as a user does; return the report."""
    environment = os.environ | {"ONNXPACK_CACHE": str(store), "PYTHONPATH": str(code or folder)}
    command = [sys.executable, "-m", "onnxpack", "build", "spec.yaml", "--json", "--until", "optimize", *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    (report,) = json.loads(ended.stdout)
    return dict(report)


def reran(report: dict[str, Any]) -> set[str]:
    return {f"{stage['name']} {stage['of']}".strip() for stage in report["stages"] if not stage["cached"]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "pieces").mkdir(parents=True)
    onnx.save(network(0), folder / "m.onnx")
    (folder / "data.py").write_text(DATA)
    (folder / "judges.py").write_text(JUDGES)
    (folder / "scale.py").write_text("FACTOR = 1.0\n")
    piece = (np.random.default_rng(2).uniform(-1, 1, (8, WIDTH)) ** 3).astype(np.float32)
    np.save(folder / "pieces" / "0.npy", piece)
    (folder / "spec.yaml").write_text(json.dumps(SPEC))
    return folder


def test_files_that_user_code_reads_or_imports_are_traced(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = run(project, store)
    assert reran(run(project, store)) == set(), "nothing changed"

    (project / "scale.py").write_text("FACTOR = 0.5\n")
    imported = run(project, store)
    assert imported["evaluation"]["source"] == first["evaluation"]["source"] / 2, "a module that the metric imports"
    assert reran(imported) == {"evaluate source", "evaluate float32", "evaluate int8-static"}

    np.save(project / "pieces" / "1.npy", np.full((1, WIDTH), 5, np.float32))
    listed = run(project, store)
    assert listed["model"]["sha256"] != first["model"]["sha256"], "one more file in a folder that was listed"
    assert "export" not in reran(listed)

    np.save(project / "pieces" / "1.npy", np.full((1, WIDTH), 9, np.float32))
    read = run(project, store)
    assert read["model"]["sha256"] not in (first["model"]["sha256"], listed["model"]["sha256"]), "a file that was read"

    (project / "measures").mkdir()
    (project / "measures" / "__init__.py").touch()
    (project / "measures" / "own.py").write_text(JUDGES.replace("FACTOR *", "3 * FACTOR *"))
    setting = "evaluation.metric=measures.own:judge"
    by_name = run(project, store, "--set", setting)
    assert by_name["evaluation"]["source"] == imported["evaluation"]["source"] * 3
    (project / "measures" / "own.py").write_text(JUDGES.replace("FACTOR *", "7 * FACTOR *"))
    edited = run(project, store, "--set", setting)
    assert edited["evaluation"]["source"] == imported["evaluation"]["source"] * 7, "a metric named by its module"

    fresh = run(project, tmp_path / "empty", "--set", setting, "--output", "other")
    ignored = {"stages", "candidates", "batching"}  # what was cached; and times
    assert {key: edited[key] for key in edited.keys() - ignored} == {key: fresh[key] for key in fresh.keys() - ignored}
    files = [digest_tree(project / name / "small" / "cpu.optimize") for name in ("dist", "other")]
    assert files[0]["model.onnx"] == files[1]["model.onnx"]

    (project / "pieces" / "1.npy").unlink()
    shutil.rmtree(project / "measures")  # what imports may find is a part of what they did not find
    assert reran(run(project, store)) == set(), "a change that is taken back finds its result again"


def test_only_what_a_stage_imports_of_this_package_makes_it_run_again(project: Path, tmp_path: Path) -> None:
    code, store = tmp_path / "code", tmp_path / "store"
    package = Path(onnxpack.__file__).parent
    shutil.copytree(package, code / "onnxpack", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(package.parent / "templates", code / "templates")

    def edit(name: str) -> set[str]:
        with (code / name).open("a") as stream:
            stream.write("\n# edited\n")
        return reran(run(project, store, code=code))

    run(project, store, code=code)
    assert edit("templates/server.py.j2") == set()
    assert edit("onnxpack/bundle/render.py") == set()
    assert edit("onnxpack/image/smoke.py") == set()
    assert edit("onnxpack/precision/int8_static.py") == {"calibrate int8-static", "precision int8-static"}
    assert edit("onnxpack/sources/onnx.py") == {"export"}, "what is exported is the same: nothing behind it runs again"
    assert edit("onnxpack/evaluation/score.py") == set(), "the metric is the user's"
    assert {"export", "verify export"} <= edit("onnxpack/parity/compare.py")
