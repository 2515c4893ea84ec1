"""A lock of an older onnxruntime of the package index moves to a newer one, once both have answered."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Ended

from onnxpack.bundle import lock
from onnxpack.pipeline.lock import Moving, make_lock
from onnxpack.spec.load import load

pytestmark = pytest.mark.e2e
SPECS = Path(__file__).parents[2] / "specs"


def test_a_lock_moves_to_another_real_runtime(
    tmp_path: Path, onnxpack: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SPECS / "iris", tmp_path / "iris")
    monkeypatch.chdir(tmp_path / "iris")
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    file = load(Path("spec.yaml"))
    committed = lock.read_lock(Path("spec.lock"))
    older = tuple(
        replace(one, version="1.27.0") if one.name == "onnxruntime" else one
        for one in committed.targets["cpu"].packages
    )
    entry = replace(committed.targets["cpu"], packages=older)
    made = make_lock(file, lock.Lock({"cpu": entry}, committed.pins), lambda *_: None, Moving())
    lock.write(Path("spec.lock"), made.targets, made.pins)
    assert "onnxruntime-1.27.0-" in Path("spec.lock").read_text()
    assert onnxpack("lock", "--check", "spec.yaml").code == 0
    ended = onnxpack("lock", "--upgrade", "onnxruntime", "spec.yaml")
    assert ended.code == 0, ended.err
    assert "target 'cpu', onnxruntime 1.27.0 → 1." in ended.err
    assert " answers compared, at most " in ended.err
    ended = onnxpack("build", "--locked", "--engine", "none", "spec.yaml")
    assert ended.code == 0, ended.err
    assert onnxpack("lock", "--check", "spec.yaml").code == 0
    exported = onnxpack("lock", "--export", "pylock", "spec.yaml")
    assert exported.out == "pylock.spec-cpu.toml\n"
