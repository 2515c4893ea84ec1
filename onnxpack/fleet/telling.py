"""Tells a build's progress as events."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from onnxpack.fleet.events import Noted, StageBegan, StageEnded, StageSkipped
from onnxpack.fleet.executor import Tell


class JobProgress:
    """The progress of one job, which becomes events."""

    def __init__(self, job: int, tell: Tell) -> None:
        self._job = job
        self._tell = tell

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell when the work begins, and when it ends, how long it took and whether it ended well."""
        self._tell(StageBegan(self._job, name))
        started = time.monotonic()
        passed = False
        try:
            yield
            passed = True
        finally:
            self._tell(StageEnded(self._job, name, time.monotonic() - started, passed))

    def note(self, text: str) -> None:
        """Tell one line about the stage at hand."""
        self._tell(Noted(self._job, text))

    def skip(self, name: str, why: str) -> None:
        """Tell that a stage's result is reused."""
        self._tell(StageSkipped(self._job, name, why))
