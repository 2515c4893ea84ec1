"""A base image's own Python is asked once what it is; what is no Python, or cannot run here, is told as that."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

import pytest
from boxes import FakeContainer

from onnxpack.core.errors import EngineError, GateError, SpecError
from onnxpack.image.base import inspect_base, read_system
from onnxpack.image.base_probe import BaseSystem
from onnxpack.image.engine import Container, Engine, Image

SYSTEM = BaseSystem("3.11.2", "CPython", False, "glibc 2.36", "x86_64", True)
BASE = Image("sha256:base", 1, (), {}, platform="linux/arm64")


@dataclass(frozen=True)
class Failing(FakeContainer):
    """A container whose command cannot be started, or fails with words on stderr."""

    refusal: str = ""
    words: str = ""

    def start(self) -> None:
        if self.refusal:
            raise GateError(self.refusal)

    def wait(self, seconds: float) -> int | None:
        return 1

    def output(self) -> tuple[str, str]:
        return "", self.words


class FakeEngine:
    """An engine that gives one container, and keeps what it was asked for."""

    def __init__(self, box: Container) -> None:
        self.box = box
        self.asked: list[Any] = []

    @contextmanager
    def container(self, image: str, files: dict[str, bytes], **words: list[str]) -> Iterator[Container]:
        self.asked.append((image, files, words["entrypoint"], words["command"][:2]))
        yield self.box


def ask(box: Container) -> tuple[BaseSystem, FakeEngine]:
    engine = FakeEngine(box)
    return inspect_base(cast(Engine, engine), BASE), engine


def test_the_base_s_own_python_is_asked() -> None:
    found, engine = ask(FakeContainer(json.dumps(asdict(SYSTEM)) + "\n"))
    assert found == SYSTEM
    assert engine.asked == [("sha256:base", {}, ["python3"], ["-I", "-c"])]


@pytest.mark.parametrize(
    "box",
    [Failing(refusal="no such file: python3"), Failing(words="no such file: python3")],
    ids=["not started", "ended"],
)
def test_a_base_without_python_is_no_base(box: Failing) -> None:
    with pytest.raises(SpecError, match="the base image has no python3 that can be run") as caught:
        ask(box)
    problem = caught.value.problems[0]
    assert "image.base" in problem.hint
    assert "no such file: python3" in f"{problem.message}{problem.detail}"


@pytest.mark.parametrize(
    "box",
    [Failing(refusal="exec /usr/bin/python3: exec format error"), Failing(words="exec: Exec format error")],
    ids=["not started", "ended"],
)
def test_a_base_of_a_machine_that_does_not_run_here_says_what_to_install(box: Failing) -> None:
    with pytest.raises(EngineError, match="linux/arm64") as caught:
        ask(box)
    assert "qemu-user-static" in caught.value.problems[0].hint
    assert "--engine oci" in caught.value.problems[0].hint


@pytest.mark.parametrize("said", ["", "Python 3.11", "[]", "{}", json.dumps(asdict(SYSTEM) | {"python": 3}), "\ud800"])
def test_what_does_not_say_what_it_is_is_no_python(said: str) -> None:
    with pytest.raises(SpecError, match="is no Python"):
        read_system(said)
