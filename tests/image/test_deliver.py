"""One name in a registry stands for the images of several platforms: who pulls it gets the one for its machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from registries import Served, add_image, running_registry
from told import Told

from onnxpack.core.errors import SpecError
from onnxpack.image.deliver import push_image, push_joined
from onnxpack.image.engine import Engine
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import Descriptor
from onnxpack.oci.pull import pull
from onnxpack.oci.reference import parse_reference


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_registry(tmp_path_factory.mktemp("registry")) as served:
        yield served


class FakeEngine:
    """An engine that has its images in a layout, by their names."""

    def __init__(self, layout: Layout, images: dict[str, Descriptor]) -> None:
        self.layout, self.images = layout, images

    def export(self, image: str, compression: str) -> tuple[Layout, Descriptor]:
        return self.layout, self.images[image]


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    layout = Layout(tmp_path / "layout")
    images = {
        kind: add_image(layout, number, platform=f"linux/{kind}") for number, kind in enumerate(["arm64", "amd64"])
    }
    return FakeEngine(layout, images)


def test_each_machine_gets_its_own_image_by_one_name(registry: Served, engine: FakeEngine, tmp_path: Path) -> None:
    having, name = cast(Engine, engine), f"{registry.host}/joined/iris:1.0"
    for kind in engine.images:
        push_image(having, kind, (f"{name}-{kind}",), Told())
    sent = len(registry.requests("POST /v2/joined/iris/blobs"))
    pushed = push_joined(having, {f"linux/{kind}": kind for kind in engine.images}, name, Told())

    assert pushed.startswith(f"{registry.host}/joined/iris@sha256:")
    fresh = Layout(tmp_path / "pulled")
    for kind, entry in engine.images.items():
        assert pull(parse_reference(name), f"linux/{kind}", fresh, Told()).digest == entry.digest
        assert pull(parse_reference(pushed), f"linux/{kind}", fresh, Told()).digest == entry.digest
    assert len(registry.requests("POST /v2/joined/iris/blobs")) == sent

    again: Any = dict(reversed([(f"linux/{kind}", kind) for kind in engine.images]))
    assert push_joined(having, again, name, Told()) == pushed


def test_a_name_without_a_registry_is_refused(engine: FakeEngine) -> None:
    with pytest.raises(SpecError, match="names no registry to push to"):
        push_joined(cast(Engine, engine), {"linux/amd64": "amd64"}, "iris:1.0", Told())
