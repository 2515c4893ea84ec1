import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def netron(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands in for the extra; gives what it was asked to show."""
    shown: list[Any] = []
    module = ModuleType("netron")

    def start(file: str, address: tuple[str, int], browse: bool) -> tuple[str, int]:
        if address[1] == 99:
            raise OSError(98, "Address already in use")
        shown.append((file, address, browse))
        return address

    module.start = start  # type: ignore[attr-defined]
    module.wait = lambda: shown.append("waited")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "netron", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "netron" else None)
    return shown


def test_a_model_and_a_bundle_are_shown(tmp_path: Path, onnxpack: Run, netron: list[Any]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    for path in (tmp_path, tmp_path / "model.onnx"):
        ended = onnxpack("view", path, "--no-browser", "--port", 9000)
        assert (ended.code, ended.out) == (0, "http://localhost:9000\n")
        assert netron == [(str(tmp_path / "model.onnx"), ("localhost", 9000), False), "waited"]
        netron.clear()


def test_a_taken_port_is_told(tmp_path: Path, onnxpack: Run, netron: list[Any]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    ended = onnxpack("view", tmp_path, "--port", 99)
    assert ended.code == 5
    assert "--port" in ended.err


def test_without_netron_it_says_how_to_get_it(tmp_path: Path, onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ended = onnxpack("view", tmp_path / "m.onnx")
    assert (ended.code, ended.out) == (2, "")
    assert "run `pip install 'onnxpack[view]'`" in ended.err


def test_a_missing_file_is_told(tmp_path: Path, onnxpack: Run) -> None:
    assert onnxpack("view", tmp_path).code == 2
    assert onnxpack("view", tmp_path / "gone.onnx").code == 2
