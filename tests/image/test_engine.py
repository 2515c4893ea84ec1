"""An engine is one new file: nothing else names it."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boxes
import pytest
from boxes import FakeContainer

import onnxpack
from onnxpack.core.errors import EngineError, GateError
from onnxpack.image import DAEMONLESS, DOCKER, choose_engine, list_engines, load_engine
from onnxpack.image.docker import DockerEngine
from onnxpack.image.engine import require_end

PAPER = '''"""An engine that writes down what it is asked."""

import json
from contextlib import nullcontext
from dataclasses import asdict

from boxes import FakeContainer, fake_compiler

from onnxpack.image.base_probe import BaseSystem
from onnxpack.image.engine import Image, Layer

LAYER = Layer("sha256:base", 1, "")
SYSTEM = BaseSystem("3.11.2", "CPython", False, "glibc 2.36", "x86_64", True)


class PaperEngine:
    def find(self, reference):
        return None

    def require_base(self, reference, platform, progress):
        print("base", reference, platform)
        return Image("base", 1, (LAYER,), {})

    def container(self, image, files, *, entrypoint, command):
        folder = next((word for word in command if word.startswith("/opt/")), None)
        print("container", image, *entrypoint, folder)
        if folder is None:
            return nullcontext(FakeContainer(json.dumps(asdict(SYSTEM))))
        return nullcontext(fake_compiler(f"{folder[1:]}/__pycache__/made.pyc"))

    def build(self, asked):
        print("build", asked.context.folder.name, asked.name.partition(":")[0], asked.compression, asked.fresh)
        return Image("built", 2, (LAYER,), {})

    def tag(self, image, reference):
        print("tag", image, reference)

    def untag(self, reference):
        print("untag", reference.partition(":")[0])

    def leave(self, image, names, folder):
        print("leave", image, *names, folder.name)


ENGINE = PaperEngine
'''
DELIVER = """
import sys
from dataclasses import replace
from pathlib import Path
from bundle_examples import DOCKERFILES
from onnxpack.bundle.context import Context
from onnxpack.cache.store import Store
from onnxpack.core.progress import SilentProgress
from onnxpack.image import load_engine
from onnxpack.pipeline.base import check_base
from onnxpack.pipeline.image import DeliverImage
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build, Product
from onnxpack.spec.load import load
here = Path(sys.argv[1])
(here / "context").mkdir()
plan = Plan(load(here / "spec.yaml"), "cpu", here / "dist")
run = Build(plan, Store(here / "store"), load_engine("paper"), SilentProgress())
context = Context(here / "context", "k" * 64, "1.0", DOCKERFILES["iris"])
done = DeliverImage(smoke=False)(run, check_base(run, Product(context=context, folder=here / "out")))
print(*done.references)
"""


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A folder with a copy of the package that has one file more."""
    package = tmp_path / "lib/onnxpack"
    shutil.copytree(Path(onnxpack.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "image/paper.py").write_text(PAPER)
    return package.parent


def run(extended: Path, *arguments: str) -> str:
    environment = {
        "PYTHONPATH": f"{extended}:{Path(boxes.__file__).parent}",
        "PATH": "/usr/bin:/bin",
        "HOME": str(extended),
    }
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=extended, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_new_file_adds_an_engine_that_the_pipeline_delivers_by(extended: Path, project: Path) -> None:
    printed = run(extended, "-c", DELIVER, str(project)).splitlines()
    assert printed == [
        "base gcr.io/distroless/python3-debian12 linux/amd64",
        "container base python3 None",
        "container base python3 /opt/onnxpack/lib",
        "container base python3 /opt/onnxpack/app",
        "build context onnxpack-build gzip False",
        "tag built small:1.0-cpu",
        f"tag built small:{'k' * 12}-cpu",
        f"leave built small:1.0-cpu small:{'k' * 12}-cpu out",
        "untag onnxpack-build",
        f"small:1.0-cpu small:{'k' * 12}-cpu",
    ]


def test_new_file_adds_a_choice_to_the_command_line(extended: Path) -> None:
    assert "--engine [docker|oci|paper|none]" in run(extended, "-m", "onnxpack", "build", "--help")


def test_load_engine_of_a_name_gives_that_engine_and_of_no_other() -> None:
    assert {DOCKER, DAEMONLESS} == set(list_engines())
    assert isinstance(load_engine(), DockerEngine)
    with pytest.raises(ValueError, match="there is no engine 'dokcer': docker, oci"):
        load_engine("dokcer")


@pytest.mark.parametrize(
    ("components", "named"),
    [
        ([{"Name": "Engine", "Version": "20.10.24"}], "docker 20.10.24"),
        ([{"Name": "Podman Engine", "Version": "4.3.1"}, {"Name": "Conmon", "Version": "2.1.6"}], "podman 4.3.1"),
        (None, "docker 20.10.24"),
    ],
)
def test_docker_engine_says_its_version_and_whether_it_is_podman(components: Any, named: str) -> None:
    engine = DockerEngine()
    vars(engine)["client"] = SimpleNamespace(version=lambda: {"Version": "20.10.24", "Components": components})
    assert engine.version == named


class EndingContainer(FakeContainer):
    def wait(self, seconds: float) -> int | None:
        return None if self.printed == "endless" else len(self.printed)

    def output(self) -> tuple[str, str]:
        return self.printed, f"{'x' * 5000}the end"


def test_require_end_gives_what_a_container_printed() -> None:
    assert require_end(FakeContainer("done"), 1.0) == "done"


@pytest.mark.parametrize(("printed", "words"), [("abc", "exit status 3"), ("endless", "did not end within 0.5 s")])
def test_require_end_of_a_failure_shows_the_end_of_its_output(printed: str, words: str) -> None:
    with pytest.raises(GateError, match=words) as failed:
        require_end(EndingContainer(printed), 0.5)
    detail = failed.value.problems[0].detail
    assert detail.endswith("the end")
    assert len(detail) == 3000


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that names no engine."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return monkeypatch


def test_without_an_engine_the_one_that_needs_none_is_taken(unnamed: pytest.MonkeyPatch) -> None:
    def refuse(engine: DockerEngine) -> None:
        raise EngineError("no Docker engine answers")

    unnamed.setattr(Path, "is_socket", lambda path: True)
    unnamed.setattr(DockerEngine, "client", property(refuse))
    assert choose_engine() == DAEMONLESS
    unnamed.setattr(DockerEngine, "client", property(lambda engine: "a connection"))
    assert choose_engine() == DOCKER
    unnamed.setattr(Path, "is_socket", lambda path: False)
    assert choose_engine() == DAEMONLESS


@pytest.mark.case("B3")
def test_an_engine_that_somebody_names_is_meant_though_it_is_dead(unnamed: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unnamed.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    assert choose_engine() == DOCKER
