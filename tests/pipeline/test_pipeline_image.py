"""The image stage adds what the base's Python compiles, once for the same sources."""

from contextlib import nullcontext
from pathlib import Path
from typing import cast

import pytest
from boxes import FakeContainer, fake_compiler
from bundle_examples import DOCKERFILES

from onnxpack.bundle.context import Context
from onnxpack.cache.store import Store
from onnxpack.core.artifacts import Artifact
from onnxpack.core.progress import SilentProgress
from onnxpack.core.values import Exported, OnnxModel, Reference
from onnxpack.image.engine import BuildRequest, Engine, Image, Layer, Smoke, SmokeRequest
from onnxpack.pipeline.image import DeliverImage
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build, Product
from onnxpack.spec.load import load

LIB, APP = "rootfs/runtime/opt/onnxpack/lib", "rootfs/model/opt/onnxpack/app"


class FakeEngine:
    """An engine that keeps which folders it is to compile, and what is built."""

    def __init__(self, platform: str = "linux/amd64") -> None:
        self.platform = platform
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
        return Image("sha256:built", 2, (), {}, platform="linux/amd64")

    def find_platform(self) -> str:
        return self.platform

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


def deliver(
    project: Path, context: Path, engine: FakeEngine, base: str = "sha256:base", *, smoke: bool = False
) -> tuple[Build, Product]:
    plan = Plan(load(project / "spec.yaml"), "cpu", project / "dist")
    run = Build(plan, Store(project / "store"), cast(Engine, engine), SilentProgress())
    model = OnnxModel(Artifact(project, "m" * 64), "m" * 64, 17, 10, (), (), 1, {})
    reference = Reference(Artifact(project, "r" * 64), ("case",))
    product = Product(
        exported=Exported(model, reference, reference),
        model=model,
        base=Image(base, 1, (Layer("sha256:layer", 1, ""),), {}),
        context=Context(context, "k" * 64, "1.0", DOCKERFILES["iris"]),
        folder=project,
    )
    return run, DeliverImage(smoke)(run, product)


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


@pytest.mark.parametrize(("platform", "emulated"), [("linux/amd64", False), ("linux/arm64", True)])
def test_an_image_of_another_machine_is_tested_as_one_that_is_emulated(
    project: Path, context: Path, monkeypatch: pytest.MonkeyPatch, platform: str, emulated: bool
) -> None:
    asked: list[SmokeRequest] = []

    def smoke_test(engine: Engine, request: SmokeRequest) -> Smoke:
        asked.append(request)
        return Smoke(1, 99.0, 99.0, 99.0, 10**9, runtime="nothing", emulated=request.emulated)

    monkeypatch.setattr("onnxpack.pipeline.image.smoke_test", smoke_test)
    spec = project / "spec.yaml"
    spec.write_text(f"{spec.read_text()}gates: {{first_answer: 1000, rss_growth: 1MB}}\n")
    _, product = deliver(project, context, FakeEngine(platform), smoke=True)
    assert product.smoke
    assert product.smoke.emulated is emulated
    (request,) = asked
    measured = (request.first_answer, request.soak_seconds, request.load_seconds)
    assert measured == ((None, 0.0, 0.0) if emulated else (1000.0, 10.0, 2.0))
