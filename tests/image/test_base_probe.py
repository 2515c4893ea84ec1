"""What a base's Python says of itself is true of the Python that says it."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from onnxpack.image import base_probe


def test_the_command_prints_what_it_finds_in_one_line() -> None:
    command = [sys.executable, "-I", "-c", Path(base_probe.__file__).read_text()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert (found["python"], found["implementation"]) == (platform.python_version(), platform.python_implementation())
    assert found["machine"] == platform.machine()
    assert found["free_threaded"] is False


@pytest.mark.parametrize("error", [ValueError("unrecognized configuration name"), OSError(22, "Invalid argument")])
@pytest.mark.parametrize(("files", "expected"), [(["ld-musl-x86_64.so.1"], "musl"), ([], "")])
def test_another_c_library_is_told_by_its_loader(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, files: list[str], expected: str
) -> None:
    def fail(name: str) -> str:
        raise error

    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(os, "confstr", fail)
    monkeypatch.setattr(base_probe, "Path", lambda _: tmp_path)
    assert base_probe.read_libc() == expected


def test_the_c_library_has_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: {"CS_GNU_LIBC_VERSION": "glibc 2.36"}[name])
    assert base_probe.read_libc() == "glibc 2.36"


def test_the_machine_is_the_interpreters_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel of x86-64 also runs programs for i386, and says x86_64 to them."""
    monkeypatch.setattr(sys.implementation, "_multiarch", "i386-linux-gnu", raising=False)
    assert base_probe.read_machine() == "i386"
    monkeypatch.delattr(sys.implementation, "_multiarch")
    assert base_probe.read_machine() == platform.machine()


def test_a_library_is_there_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert base_probe.has_library("libc.so.6") is True
    assert base_probe.has_library("libnothing-of-this-name.so.6") is False
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert base_probe.has_library("libc.so.6") is None
