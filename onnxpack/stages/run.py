"""One run of the chain: its plan, what it works with, and the stages that it went through."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from onnxpack.engines.docker import DockerEngine
from onnxpack.plan import STAGES, Plan
from onnxpack.progress import Progress
from onnxpack.report import StageRecord
from onnxpack.store import Store


@dataclass
class Build:
    """One run: its plan, what it works with, and the stages that it went through."""

    plan: Plan
    store: Store
    engine: DockerEngine
    progress: Progress
    until: str
    stages: list[StageRecord] = field(default_factory=list)

    def reaches(self, stage: str) -> bool:
        """Whether the user wants this stage."""
        return STAGES.index(stage) <= STAGES.index(self.until)

    def taken(self, stage: str, key: str, since: float) -> None:
        """Records a stage whose result stood already."""
        self.progress.skipped(stage, "unchanged")
        self.stages.append(StageRecord(stage, round(time.monotonic() - since, 3), True, key))

    @contextmanager
    def working(self, stage: str, key: str) -> Iterator[None]:
        """Around the work of a stage whose result is new."""
        started = time.monotonic()
        with self.progress.stage(stage):
            yield
        self.stages.append(StageRecord(stage, round(time.monotonic() - started, 3), False, key))

    def keyed(self, stage: str, key: str, make: Callable[[Path], None]) -> Path:
        """The stored result of a stage, made if it is not there."""
        started = time.monotonic()
        found = self.store.get(stage, key)
        if found:
            self.taken(stage, key, started)
            return found
        with self.working(stage, key), self.store.making(stage, key) as folder:
            make(folder)
        return self.store.path(stage, key)
