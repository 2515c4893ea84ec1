"""A world outside to vendor from: wheels, a registry with a base image, and a model on a server; made once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from registries import running_registry
from small_images import save_base
from told import Told
from vendoring import MODEL, Outside, write_project
from web import serving
from wheels import make_wheels

from onnxpack.bundle.lock import LockedBase
from onnxpack.cache.store import Store
from onnxpack.image.oci import OciEngine
from onnxpack.oci.layout import Layout
from onnxpack.oci.push import push
from onnxpack.oci.reference import parse_reference
from onnxpack.vendor.collect import Chosen, Collection, collect
from onnxpack.vendor.write import write_bundle


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that these tests share."""
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="session")
def served(world: Path) -> Iterator[Outside]:
    """What builds need from outside."""
    with running_registry(world / "registry") as registry, serving() as web:
        engine, name = OciEngine(Layout(world / "pushed")), f"{registry.host}/python:3.11"
        base = engine.add_base(save_base(world / "base.tar"), name, "linux/amd64")
        layout, entry = engine.export(base.id, "")
        push(layout, entry, [parse_reference(name)], Told())
        web.content = MODEL
        yield Outside(make_wheels(world), LockedBase(name, entry.digest), web)


def _use(world: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let uv see the world's wheels alone, and let the store be a test's own."""
    monkeypatch.setenv("UV_CONFIG_FILE", str(world / "uv.toml"))
    monkeypatch.setenv("UV_CACHE_DIR", str(world / "uv"))
    monkeypatch.setenv("ONNXPACK_CACHE", str(cache))


@pytest.fixture
def outside(world: Path, served: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    _use(world, tmp_path / "cache", monkeypatch)
    yield served
    served.web.content = MODEL


@pytest.fixture(scope="session")
def chosen(world: Path, served: Outside) -> list[Chosen]:
    """Two specs that share all but the source of their models."""
    one = write_project(world / "one", "one", served)
    other = write_project(world / "other", "other", served, isolated=True)
    return [Chosen(one, ("cpu",)), Chosen(other, ("cpu",))]


@pytest.fixture(scope="session")
def collection(world: Path, chosen: list[Chosen]) -> Collection:
    with pytest.MonkeyPatch.context() as patch:
        _use(world, world / "cache", patch)
        return collect(chosen, Store(world / "cache"), Told())


@pytest.fixture(scope="session")
def written(world: Path, collection: Collection) -> Path:
    write_bundle(collection, world / "bundle.tar")
    return world / "bundle.tar"


@pytest.fixture
def bundle(tmp_path: Path, written: Path) -> Path:
    """The two specs' bundle, for a test to do with what it likes."""
    return Path(shutil.copyfile(written, tmp_path / "bundle.tar"))
