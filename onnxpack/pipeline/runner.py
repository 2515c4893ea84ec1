"""Runs tasks and keeps their results: the same request, and the same traced files and code, give the stored result."""

import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from onnxpack.progress import Progress
from onnxpack.report import StageRecord
from onnxpack.store import Store
from onnxpack.worker.call import Outcome, Setting, call
from onnxpack.worker.code import code_digest
from onnxpack.worker.codec import decode, digest_of, encode
from onnxpack.worker.task import Task, result_type
from onnxpack.worker.trace import Trace

ResultT = TypeVar("ResultT")

_RESULT, _FILES = "result", "files"
"""In an entry: the message of the result, and the folder of its files."""
_TRACES = "traces"
_MOST_TRACES = 8
"""How many traces of one request are remembered: a change that is taken back finds its result again."""


@dataclass(frozen=True)
class Stored:
    """Where a result stands in the store, and the key that it has there."""

    key: str
    folder: Path


@dataclass
class Runner:
    """Runs tasks of one build; ``records`` tells which ones, and which of them stood already."""

    store: Store
    progress: Progress
    root: Path
    """The spec's work tree, which files that a task reads are relative to."""
    sandbox: bool = False
    """Whether tasks are confined. Their results are the same, so stored ones are taken."""
    records: list[StageRecord] = field(default_factory=list)

    def run(self, task: Task[ResultT], apart: "Apart | None" = None, of: str = "") -> ResultT:
        """Return the result of a task: the stored one, else a new one, which is stored.

        ``apart`` is where a task runs that needs more than this process has; ``of`` tells apart several tasks of one
        name.

        Raises:
            OnnxpackError: the task failed; nothing is stored.
        """
        started = time.monotonic()
        base = base_key(task, apart.key if apart else "")
        stored = self._recall(task.NAME, base)
        if stored:
            if all(record.key != stored.key for record in self.records):  # several candidates ask for the same
                self.progress.skipped(f"{task.NAME} {of}".strip(), "unchanged")
                self.record(task.NAME, of, started, stored.key, cached=True)
            data = (stored.folder / _RESULT).read_bytes()
            known: ResultT = decode(data, result_type(type(task)), stored.folder / _FILES)
            return known
        ready, python = apart.prepare() if apart else (task, None)
        with self.progress.stage(f"{task.NAME} {of}".strip()), self.store.scratch() as scratch:
            out = scratch / "out"
            (out / _FILES).mkdir(parents=True)
            setting = Setting(
                scratch, out / _FILES, python, root=self.root, ignored=(self.store.root,), progress=self.progress,
                sandbox=self.sandbox,
            )  # fmt: skip
            outcome: Outcome[ResultT] = call(ready, setting)
            if not task.keeps(outcome.result):
                # Only its values outlive the scratch folder, so such a result must hold no files.
                self.record(task.NAME, of, started, "", cached=False)
                return outcome.result
            (out / _RESULT).write_bytes(outcome.data)
            key = digest_of((base, outcome.trace))
            with self.store.making(task.NAME, key) as folder:
                for path in out.iterdir():
                    path.rename(folder / path.name)
            self._remember(task.NAME, base, outcome.trace)
        self.record(task.NAME, of, started, key, cached=False)
        return decode(outcome.data, result_type(type(task)), self.store.path(task.NAME, key) / _FILES)

    def keep(self, name: str, request: Any, kind: type[ResultT], module: str, make: Callable[[], ResultT]) -> ResultT:
        """Return the result of work that this process does itself, the stored one if there is one.

        ``request`` is all that ``make`` reads, and ``module`` is where its code is.
        """
        started = time.monotonic()
        key = digest_of((name, code_digest(module), request))
        found = self.store.get(name, key)
        if found:
            self.progress.skipped(name, "unchanged")
        else:
            with self.progress.stage(name):
                made = encode(make())
                with self.store.making(name, key) as folder:
                    (folder / _RESULT).write_bytes(made)
        self.record(name, "", started, key, cached=found is not None)
        return decode((self.store.path(name, key) / _RESULT).read_bytes(), kind)

    def _recall(self, name: str, base: str) -> Stored | None:
        """Return the stored result whose trace still holds, the newest first."""
        for trace in reversed(self._traces(name, base)):
            if trace.holds(self.root):
                key = digest_of((base, trace))
                found = self.store.get(name, key)
                if found:
                    return Stored(key, found)
        return None

    def _traces(self, name: str, base: str) -> tuple[Trace, ...]:
        try:
            return decode((self.store.root / _TRACES / name / base).read_bytes(), tuple[Trace, ...])
        except (OSError, ValueError):
            return ()

    def _remember(self, name: str, base: str, trace: Trace) -> None:
        """Write the trace down as the newest; of two builds at once one may be lost, which costs a run and no truth."""
        known = [other for other in self._traces(name, base) if other != trace]
        place = self.store.root / _TRACES / name / base
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as stream:
            stream.write(encode((*known, trace)[-_MOST_TRACES:]))
        os.replace(stream.name, place)  # noqa: PTH105 - the name is all that there is

    def record(self, name: str, of: str, started: float, key: str, *, cached: bool) -> None:
        """Note that a task, or work of this process, was done or stood already."""
        self.records.append(StageRecord(name, round(time.monotonic() - started, 3), cached, key, of))


@dataclass(frozen=True)
class Apart:
    """An environment and files that are only made when a task really runs."""

    key: str
    """Of what is installed there; empty where it is this environment."""
    prepare: Callable[[], tuple[Task[Any], Path | None]]
    """Gives the task with all its files here, and the interpreter of the environment."""


def base_key(task: Task[Any], environment: str) -> str:
    """Return the digest of a request and of the kind of machine and Python that answers it."""
    kind = type(task)
    here = (platform.machine(), platform.python_implementation(), platform.python_version())
    return digest_of((kind.__module__, kind.__qualname__, here, environment, task))
