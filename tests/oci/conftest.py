"""A real registry, what is pushed to it, and no long waits."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_registry import Faulty, faulty
from registries import PIECE, Served, running_registry
from told import Told

from onnxpack.download import transfer
from onnxpack.oci.layout import Layout


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_registry(tmp_path_factory.mktemp("registry")) as served:
        yield served


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a server asked to wait, of each wait; none is waited for."""
    found: list[float] = []
    monkeypatch.setattr(transfer.Patience, "wait", lambda self, error, pause=None: found.append(error.wait))
    return found


@pytest.fixture
def proxy(registry: Served, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    monkeypatch.setattr("onnxpack.oci.upload.PIECE", PIECE)
    with faulty(registry.host) as made:
        yield made


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write Docker's configuration."""
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))

    def write(**values: Any) -> None:
        (folder / "config.json").write_text(json.dumps(values))

    write()
    return write
