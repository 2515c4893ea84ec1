import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from bundle_examples import MODULES, SAVERS, VARIANTS, write_app

from onnxpack.bundle.render import render_module

GOLDEN = Path(__file__).parents[1] / "golden"
VIEWS = (*MODULES.values(), *(view for view, _ in VARIANTS.values()))
GENERATED = {file.removesuffix(".py") for view in VIEWS for file in render_module(view)}


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a file in tests/golden, or write it there with ONNXPACK_UPDATE_GOLDEN=1."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("ONNXPACK_UPDATE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        expected = path.read_text(encoding="utf-8") if path.exists() else ""
        assert text == expected, f"tests/golden/{name} differs; if it should, set ONNXPACK_UPDATE_GOLDEN=1 and look"

    return check


@pytest.fixture(scope="session")
def apps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as /opt/onnxpack/app has it, by the name of the model."""
    folders = {}
    for name in SAVERS:
        folders[name] = tmp_path_factory.mktemp(name)
        write_app(folders[name], name)
    return folders


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server that takes bodies of 64 MiB."""
    folder = tmp_path_factory.mktemp("large")
    write_app(folder, "transactions", max_body=64 * 2**20)
    return folder


@pytest.fixture
def load(apps: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """Import a generated module of an example, or of a folder, into this process."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(model: str | Path, module: str = "inference") -> ModuleType:
        monkeypatch.syspath_prepend(apps[model] if isinstance(model, str) else model)
        return importlib.import_module(module)

    yield load
    for name in GENERATED:
        sys.modules.pop(name, None)
