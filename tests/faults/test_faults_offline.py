"""A build that has everything needs no package index, and one that has not says what is missing and what mends it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx_examples import RELU, make_model
from wheels import make_wheel

from onnxpack.core.digests import digest_tree

SPEC = """\
onnxpack: 1
name: alone
model: {framework: onnx, path: model.onnx}
inputs:
  x: {dtype: float32, shape: [n, 4]}
dynamic_axes: {n: [1, 8]}
"""
BUILD = ("build", "spec.yaml", "--engine", "none")


@pytest.fixture
def built(tmp_path: Path, wheels: Path, onnxpack: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that was built once, and no package index any more."""
    for name, version in (("onnxruntime", "1.30"), ("numpy", "2.9"), ("httptools", "0.9"), ("orjson", "3.12")):
        make_wheel(wheels, name, version)
    project = tmp_path / "project"
    project.mkdir()
    (project / "spec.yaml").write_text(SPEC)
    onnx.save(make_model(RELU), project / "model.onnx")
    monkeypatch.chdir(project)
    monkeypatch.setenv("ONNXPACK_CACHE", "cache")  # a relative one made an image without packages once
    ended = onnxpack(*BUILD)
    assert ended.code == 0, ended.err
    for path in wheels.iterdir():
        path.unlink()
    shutil.rmtree(tmp_path / "uv")
    return project


@pytest.mark.case("B13")
def test_a_build_without_an_index_that_has_everything_gives_the_same_context(
    built: Path, onnxpack: Any, count_attacks: Callable[[int], None]
) -> None:
    before = digest_tree(built / "dist")
    shutil.rmtree(built / "dist")
    ended = onnxpack(*BUILD)
    assert ended.code == 0, ended.err
    after = digest_tree(built / "dist")
    for report in ("report.json", "report.html"):  # how long each stage took, and that it was not done again
        assert before.pop(f"alone/cpu/{report}") != after.pop(f"alone/cpu/{report}")
    assert after == before
    assert {Path(name).name for name in after} >= {"Dockerfile", "onnxruntime.py", "numpy.py", "httptools.py"}
    count_attacks(1)


@pytest.mark.case("B12")
@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("missing", 5, "cannot resolve the Python packages of target 'cpu'"),
        ("no lock", 2, "onnxpack lock "),
        ("stale", 2, "onnxpack lock "),
        ("another hash", 5, "cannot install the image's Python packages"),
        ("another package", 2, "it holds 'evil', which nothing requires"),
        ("a package less", 2, "'httptools' is missing, which the spec needs"),
    ],
)
def test_a_build_without_an_index_and_with_another_lock_leaves_its_report_alone(
    built: Path, onnxpack: Any, kind: str, code: int, words: str, count_attacks: Callable[[int], None]
) -> None:
    place = built / "spec.lock"
    lock = json.loads(place.read_text())
    (runtime,) = lock["runtimes"].values()
    packages = runtime["packages"]
    if kind == "missing":
        place.unlink()
    elif kind == "no lock":
        place.write_text("{")
    else:
        if kind == "stale":
            runtime["python"] = "3.13"
        elif kind == "another hash":
            packages["numpy"]["wheels"] = dict.fromkeys(packages["numpy"]["wheels"], "0f" * 32)
        elif kind == "another package":
            wheels = {"evil-1.0-py3-none-any.whl": "0f" * 32}
            packages["evil"] = {"version": "1.0", "requires": [], "wheels": wheels}
        else:
            del packages["httptools"]
        place.write_text(json.dumps(lock))
    ended = onnxpack(*BUILD)
    assert ended.code == code, ended.err
    assert words in ended.err
    assert sorted(path.name for path in (built / "dist/alone/cpu").iterdir()) == ["report.html", "report.json"]
    assert json.loads((built / "dist/alone/cpu/report.json").read_text())["stage"] == "bundle"
    count_attacks(1)
