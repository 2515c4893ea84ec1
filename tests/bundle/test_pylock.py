"""A target's lock as pylock.toml: what other installers read, with exactly the wheels of the lock."""

import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.pylock import Pylock
from uv import find_uv_bin
from wheels import make_wheel

from onnxpack.bundle import pylock
from onnxpack.bundle.lock import Package, TargetLock
from onnxpack.bundle.pylock import export_pylock, name_pylock
from onnxpack.bundle.resolve import list_wheels, read_wheels
from onnxpack.core.errors import EngineError


@pytest.fixture
def locked(wheels: Path) -> TargetLock:
    make_wheel(wheels, "numpy", "2.4.6")
    make_wheel(wheels, "onnxruntime", "1.32", ("numpy", "protobuf"))
    found = read_wheels(list_wheels(["numpy==2.4.6", "onnxruntime==1.32"], "3.11", "linux/amd64", "cpu"))
    requires = {"numpy": (), "onnxruntime": ("numpy", "protobuf")}
    packages = tuple(
        Package(name, "2.4.6" if name == "numpy" else "1.32", tuple(one.values()), requires[name], tuple(one))
        for name, one in found.items()
    )
    return TargetLock("3.11", "linux/amd64", ("numpy", "onnxruntime"), packages)


def test_what_is_exported_is_valid_and_holds_the_locked_wheels(locked: TargetLock) -> None:
    text = export_pylock(locked, "cpu")
    assert export_pylock(locked, "cpu") == text
    found = Pylock.from_dict(tomllib.loads(text))
    found.validate()
    assert [(one.name, str(one.version)) for one in found.packages] == [("numpy", "2.4.6"), ("onnxruntime", "1.32")]
    assert found.packages[1].dependencies == [{"name": "numpy"}], "what no image has is left out"
    (wheel,) = found.packages[0].wheels or ()
    assert (wheel.name, wheel.hashes["sha256"]) == (locked.packages[0].files[0], locked.packages[0].hashes[0])
    assert str(found.requires_python) == "==3.11.*"
    assert [str(one) for one in found.environments or ()] == [
        'sys_platform == "linux" and platform_machine == "x86_64"'
    ]


def test_uv_takes_what_is_exported(locked: TargetLock, tmp_path: Path) -> None:
    path = tmp_path / name_pylock("iris", "cpu")
    path.write_text(export_pylock(locked, "cpu"))
    command = (find_uv_bin(), "pip", "install", "--dry-run", "--target", str(tmp_path / "there"), "-r", str(path))
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "numpy==2.4.6" in ended.stderr
    assert "onnxruntime==1.32" in ended.stderr


def test_a_wheel_that_the_index_has_no_more_is_named(locked: TargetLock) -> None:
    gone = replace(locked, packages=(replace(locked.packages[0], hashes=("0" * 64,)), locked.packages[1]))
    with pytest.raises(
        EngineError, match=r"the package index has no wheel of numpy 2\.4\.6 with SHA-256 000000000000…"
    ):
        export_pylock(gone, "cpu")


def test_an_address_with_a_secret_is_not_written(locked: TargetLock, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = list_wheels(["numpy==2.4.6", "onnxruntime==1.32"], "3.11", "linux/amd64", "cpu")
    monkeypatch.setattr(pylock, "list_wheels", lambda *_: listed.replace("file:///", "https://user:hunter2@host/"))
    with pytest.raises(EngineError) as refused:
        export_pylock(locked, "cpu")
    assert "with a secret in" in refused.value.problems[0].message
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("spec", "target", "name"), [("iris", "cpu", "pylock.iris-cpu.toml"), ("a.b", "c.d", "pylock.a-b-c-d.toml")]
)
def test_file_names_are_those_of_the_standard(spec: str, target: str, name: str) -> None:
    assert name_pylock(spec, target) == name
