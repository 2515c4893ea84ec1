"""The image stage adds what the base's Python compiles, once for the same sources."""

from contextlib import nullcontext
from pathlib import Path
from typing import cast

import pytest
from boxes import FakeContainer, fake_compiler
from bundle_examples import DOCKERFILES

from onnxpack.bundle.context import Context
from onnxpack.cache.store import Store
from onnxpack.core.progress import SilentProgress
from onnxpack.image.engine import BuildRequest, Engine, Image, Layer
from onnxpack.pipeline.image import DeliverImage
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build, Product
from onnxpack.spec.load import load

LIB, APP = "rootfs/runtime/opt/onnxpack/lib", "rootfs/model/opt/onnxpack/app"


class FakeEngine:
    """An engine that keeps which folders it is to compile, and what is built."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.built: set[str] = set()

    def find(self, reference: str) -> None:
        return None

    def container(
        self, image: str, files: dict[str, bytes], *, entrypoint: list[str], command: list[str]
    ) -> nullcontext[FakeContainer]:
        folder = next(word for word in command if word.startswith("/opt/"))
        self.asked.append(folder)
        return nullcontext(fake_compiler(f"{folder[1:]}/__pycache__/made.pyc"))

    def build(self, asked: BuildRequest) -> Image:
        context = asked.context.folder
        self.built = {path.relative_to(context).as_posix() for path in context.rglob("*.pyc")}
        return Image("sha256:built", 2, (), {})

    def tag(self, image: str, reference: str) -> None: ...

    def untag(self, reference: str) -> None: ...

    def leave(self, image: str, names: tuple[str, ...], folder: Path) -> None: ...


@pytest.fixture
def context(tmp_path: Path) -> Path:
    for name in (f"{LIB}/numpy/__init__.py", f"{APP}/server.py"):
        path = tmp_path / "context" / name
        path.parent.mkdir(parents=True)
        path.write_text("")
    return tmp_path / "context"


def deliver(project: Path, context: Path, engine: FakeEngine, base: str = "sha256:base") -> tuple[Build, Product]:
    plan = Plan(load(project / "spec.yaml"), "cpu", project / "dist")
    run = Build(plan, Store(project / "store"), cast(Engine, engine), SilentProgress())
    product = Product(
        base=Image(base, 1, (Layer("sha256:layer", 1, ""),), {}),
        context=Context(context, "k" * 64, "1.0", DOCKERFILES["iris"]),
        folder=project,
    )
    return run, DeliverImage(smoke=False)(run, product)


def test_an_image_is_built_of_a_context_with_compiled_modules_in_both_layers(project: Path, context: Path) -> None:
    engine = FakeEngine()
    run, product = deliver(project, context, engine)
    assert engine.built == {f"{LIB}/__pycache__/made.pyc", f"{APP}/__pycache__/made.pyc"}
    assert product.image
    assert [(row.name, row.of, row.cached) for row in run.runner.records] == [
        ("compile", "packages", False), ("compile", "modules", False), ("image", "", False),
    ]  # fmt: skip


def test_what_was_compiled_is_taken_again_while_base_and_sources_are_the_same(project: Path, context: Path) -> None:
    deliver(project, context, FakeEngine())
    again = FakeEngine()
    deliver(project, context, again)
    assert again.asked == []
    assert len(again.built) == 2

    (context / APP / "server.py").write_text("changed")
    deliver(project, context, again)
    assert again.asked == ["/opt/onnxpack/app"]
    other = FakeEngine()
    deliver(project, context, other, base="sha256:other")
    assert len(other.asked) == 2
