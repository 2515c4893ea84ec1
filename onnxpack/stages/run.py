"""One run of the chain: its plan, what it works with, and the stages that it went through."""

import contextlib
import threading
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
from onnxpack.values import Reference


@dataclass(frozen=True)
class Exported:
    """The export stage's key, and what it and all later stages are judged against."""

    key: str
    folder: Path
    """All that the export left."""
    reference: Reference
    """The source model's own answers: what an export is judged by."""
    served: Reference
    """What a client is to get, pre- and postprocessing included: what everything after it is judged by."""


@dataclass
class Build:
    """One run: its plan, what it works with, and the stages that it went through."""

    plan: Plan
    store: Store
    engine: DockerEngine
    progress: Progress
    until: str
    budget: float = 600.0
    """Seconds that trying precisions may take."""
    stages: list[StageRecord] = field(default_factory=list)

    @contextmanager
    def following(self, words: Path) -> Iterator[None]:
        """Notes what a child keeps writing into a file, once a second, as long as it works."""
        done = threading.Event()

        def follow() -> None:
            said = ""
            while not done.wait(1.0):
                with contextlib.suppress(OSError):
                    if (text := words.read_text()) != said:
                        said = text
                        self.progress.note(text)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()

    def reaches(self, stage: str) -> bool:
        """Whether the user wants this stage."""
        return STAGES.index(stage) <= STAGES.index(self.until)

    def taken(self, stage: str, key: str, since: float, of: str = "") -> None:
        """Records a stage whose result stood already."""
        self.progress.skipped(f"{stage} {of}".strip(), "unchanged")
        self.stages.append(StageRecord(stage, round(time.monotonic() - since, 3), True, key))

    @contextmanager
    def working(self, stage: str, key: str, of: str = "") -> Iterator[None]:
        """Around the work of a stage whose result is new."""
        started = time.monotonic()
        with self.progress.stage(f"{stage} {of}".strip()):
            yield
        self.stages.append(StageRecord(stage, round(time.monotonic() - started, 3), False, key))

    def keyed(self, stage: str, key: str, make: Callable[[Path], None], of: str = "") -> Path:
        """The stored result of a stage, made if it is not there; ``of`` tells apart several of one stage."""
        started = time.monotonic()
        found = self.store.get(stage, key)
        if found:
            if all(record.key != key for record in self.stages):  # several candidates ask for the source's score
                self.taken(stage, key, started, of)
            return found
        with self.working(stage, key, of), self.store.making(stage, key) as folder:
            make(folder)
        return self.store.path(stage, key)
