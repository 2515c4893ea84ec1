"""Fixtures of the spec's and the command line's tests: a small valid project, a run in this process, golden texts."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from onnxpack.cli import main

SMALL = """\
onnxpack: 1
name: small
model:
  framework: onnx
  path: model.onnx
inputs:
  x: {dtype: float32, shape: [batch, 4]}
dynamic_axes:
  batch: {min: 1, max: 64}
"""
"""A valid spec, as short as one can be with a dynamic axis."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder, in no Git work tree, with the small spec and the file that it names."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "spec.yaml").write_text(SMALL)
    (folder / "model.onnx").write_bytes(b"a spec's checks read no graph")
    return folder


@pytest.fixture
def onnxpack(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Run the command line in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["onnxpack", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        assert isinstance(stop.value.code, int)
        return Ended(stop.value.code, *capsys.readouterr())

    yield run
    for number, handler in handlers.items():  # a command that has ended ignores them
        signal.signal(number, handler)


@pytest.fixture
def expected() -> Callable[[Path, str], None]:
    """Compare a text with a whole file, or write it there with ONNXPACK_UPDATE_GOLDEN=1."""

    def check(path: Path, text: str) -> None:
        if os.environ.get("ONNXPACK_UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        wanted = path.read_text(encoding="utf-8") if path.exists() else ""
        assert text == wanted, f"{path.name} differs; if it should, set ONNXPACK_UPDATE_GOLDEN=1 and look"

    return check
