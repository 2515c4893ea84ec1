"""Measure all images: each kind of figure of all of them in turn, in random order, so that a ratio is of one time."""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.image.containers import start
from benchmarks.image.figures import (
    GZIP,
    MEMORY,
    PLAIN,
    PUSH_BYTES,
    PUSH_SECONDS,
    RUNTIME_GZIP,
    RUNTIME_PLAIN,
    RUNTIME_ZSTD,
    START,
    ZSTD,
    Cell,
    Figures,
)
from benchmarks.image.models import make_question
from benchmarks.image.processes import RunError
from benchmarks.image.registry import run_registry
from benchmarks.image.sizes import measure_layers
from benchmarks.image.subjects import Ours, Usual
from benchmarks.serving.goals import shorten
from onnxpack.core.errors import OnnxpackError
from onnxpack.oci.layout import Layout


class Maker(Protocol):
    """Makes the images of one subject, one for each model; all methods raise RunError where a command fails."""

    @property
    def subject(self) -> Ours | Usual:
        """Return what is made."""

    def build_cold(self, model: str) -> dict[str, float]:
        """Build the first variant with nothing of earlier builds; return figures by their measure."""

    def change(self, model: str, variant: int) -> dict[str, float]:
        """Build another variant of the model; return figures by their measure."""

    def repeat(self, model: str) -> dict[str, float]:
        """Build what was built last; return figures by their measure."""

    def find_image(self, model: str) -> str | None:
        """Return the name in Docker's engine, if it is in that."""

    def save(self, model: str, folder: Path) -> Path:
        """Return the image as an archive, which may be made in a folder."""

    def push(self, model: str, host: str) -> float:
        """Push what was built last; return the seconds."""

    def find_path(self, model: str) -> str:
        """Return where the server answers."""


STARTS_SHARE, CHANGES_SHARE = 0.6, 0.9
"""The shares of the whole time after which no further round of starts, and of model changes, begins."""


@dataclass(frozen=True)
class Course:
    """What is measured, and how often; there are fewer rounds, but one of each, if the minutes do not suffice."""

    models: tuple[str, ...]
    changes: int
    starts: int
    minutes: float
    folder: Path
    say: Callable[[str], None]


class Run:
    """All measurements of one run."""

    def __init__(self, makers: list[Maker], course: Course) -> None:
        self.figures = Figures()
        self._makers = makers
        self._course = course
        self._started = time.perf_counter()

    def measure_all(self) -> Figures:
        """Measure everything; a subject that fails has no more figures."""
        say = self._course.say
        for maker, model in self._draw():
            say(f"cold build: {maker.subject.title}, {model}")
            with self._keep_failure(maker):
                self._note(maker, model, maker.build_cold(model))
        self._measure_sizes()
        for number in self._count(self._course.starts, STARTS_SHARE):
            say(f"cold starts, round {number}")
            for maker, model in self._draw():
                with self._keep_failure(maker):
                    self._measure_start(maker, model)
        try:
            with run_registry(self._course.folder / "registry") as relay:
                self._measure_changes(relay.host, lambda: relay.sent)
        except OSError as error:
            self.figures.troubles["registry"] = shorten(str(error))
        for number in self._count(self._course.changes, 1):
            say(f"builds of nothing new, round {number}")
            for maker, model in self._draw():
                with self._keep_failure(maker):
                    self._note(maker, model, maker.repeat(model))
        self.figures.seconds = time.perf_counter() - self._started
        return self.figures

    def _count(self, rounds: int, share: float) -> Iterator[int]:
        """Yield the numbers of rounds, from 1, until a share of the time is over."""
        for number in range(1, rounds + 1):
            if number == 1 or time.perf_counter() - self._started < share * self._course.minutes * 60:
                yield number

    def _measure_sizes(self) -> None:
        layout = Layout(self._course.folder / "sizes")
        for maker, model in self._draw():
            self._course.say(f"sizes: {maker.subject.title}, {model}")
            with self._keep_failure(maker), tempfile.TemporaryDirectory(dir=self._course.folder) as folder:
                layers = measure_layers(layout, maker.save(model, Path(folder)))
                found = {
                    PLAIN: sum(layer.plain for layer in layers),
                    GZIP: sum(layer.gzip for layer in layers),
                    ZSTD: sum(layer.zstd for layer in layers),
                }
                if isinstance(maker.subject, Ours):
                    runtime = layers[-2]
                    found |= {RUNTIME_PLAIN: runtime.plain, RUNTIME_GZIP: runtime.gzip, RUNTIME_ZSTD: runtime.zstd}
                self._note(maker, model, found)

    def _measure_start(self, maker: Maker, model: str) -> None:
        if image := maker.find_image(model):
            found = start(image, maker.find_path(model), make_question(model))
            self._note(maker, model, {START: found.seconds, MEMORY: found.memory})

    def _measure_changes(self, host: str, count: Callable[[], int]) -> None:
        """Build and push other models; the first push, which sends the whole image, is not measured."""
        for maker, model in self._draw():
            self._course.say(f"first push: {maker.subject.title}, {model}")
            with self._keep_failure(maker):
                maker.push(model, host)
        for number in self._count(self._course.changes, CHANGES_SHARE):
            self._course.say(f"model changes, round {number}")
            for maker, model in self._draw():
                with self._keep_failure(maker):
                    self._note(maker, model, maker.change(model, number))
                    before = count()
                    seconds = maker.push(model, host)
                    self._note(maker, model, {PUSH_SECONDS: seconds, PUSH_BYTES: count() - before})

    def _draw(self) -> Iterator[tuple[Maker, str]]:
        """Yield each subject that works with each of its models, in random order."""
        pairs = [
            (maker, model) for maker in self._makers for model in self._course.models if model in maker.subject.models
        ]
        for maker, model in random.sample(pairs, len(pairs)):
            if maker.subject.title not in self.figures.troubles:
                yield maker, model

    def _note(self, maker: Maker, model: str, found: Mapping[str, float]) -> None:
        for measure, value in found.items():
            self.figures.add(Cell(maker.subject.title, model, measure), value)

    @contextmanager
    def _keep_failure(self, maker: Maker) -> Iterator[None]:
        """Write down why a subject cannot be measured."""
        try:
            yield
        except (RunError, OnnxpackError) as error:
            self._course.say(f"{maker.subject.title}: {error}")
            self.figures.troubles[maker.subject.title] = shorten(str(error))
