"""Runs tasks and keeps their results: the same request, and the same traced files and code, give the stored result."""

import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from onnxpack.cache.store import Store
from onnxpack.cache.trace import PACKAGE, Trace
from onnxpack.core.errors import EngineError, flatten_words
from onnxpack.core.holds import note_use
from onnxpack.core.progress import Progress
from onnxpack.core.quiet import measuring, working
from onnxpack.core.regular import read_regular
from onnxpack.pipeline.records import StageRecord
from onnxpack.pipeline.requests import Reads, Step, describe_request
from onnxpack.worker.call import Outcome, Setting, call
from onnxpack.worker.code import digest_code
from onnxpack.worker.codec import decode, digest_value, encode
from onnxpack.worker.task import Task, find_result_type

ResultT = TypeVar("ResultT")

_RESULT, _FILES = "result", "files"
"""The parts of an entry: the message of the result, and the folder of its files."""
_TRACES = "traces"
_TRACES_LIMIT = 64 * 2**20  # bytes; a trace of 10,000 files has 1 MB
_MOST_TRACES = 8
"""How many traces of one request are remembered: a change that is taken back finds its result again."""


@dataclass(frozen=True)
class Stored:
    """The folder of a result in the store, its key there, and the trace that it was found by."""

    key: str
    folder: Path
    trace: Trace


@dataclass
class Runner:
    """Runs tasks of one build; ``records`` lists them, and which of their results were stored already."""

    IDLE: ClassVar[bool] = False
    """Whether no process may be started."""
    store: Store
    progress: Progress
    root: Path
    """The spec's work tree, which files that a task reads are relative to."""
    sandbox: bool = False
    """Whether tasks are confined. Their results are the same, so stored ones are taken."""
    records: list[StageRecord] = field(default_factory=list)
    read: Reads = field(default_factory=Reads)
    """All that its tasks, and the build itself, have read."""

    @property
    def distributions(self) -> dict[str, str]:
        """Return the Python distributions that the tasks imported, with their versions."""
        return {name: known for step in self.read.steps for name, known in step.trace.distributions.items()}

    def run(
        self, task: Task[ResultT], apart: "Apart | None" = None, of: str = "", reused: str = "unchanged"
    ) -> ResultT:
        """Return the result of a task: the stored one, else a new one, which is stored.

        ``apart`` is where a task runs that needs more than this process has; ``of`` tells apart several tasks of one
        name; ``reused`` is what a person reads where the stored result is taken.

        Raises:
            OnnxpackError: the task failed; nothing is stored.
        """
        base = base_key(task, apart.key if apart else "")
        asked = _Asked(task, apart, of, base, time.monotonic())
        stored = self._recall(task.NAME, base)
        if stored is None:
            # Of several builds at once one does the work, and the others take what it made.
            with self.store.alone(task.NAME, base, lambda: self._tell_waiting(asked.words)):
                stored = self._recall(task.NAME, base) or self._recall_shared(task.NAME, base)
                if stored is None:
                    return self._make(asked)
        if all(record.key != stored.key for record in self.records):  # several candidates ask for the same
            self.progress.skip(asked.words, reused)
            self.record(task.NAME, of, asked.started, stored.key, cached=True)
            self._note(asked, stored.trace)
        return read_result(stored.folder, find_result_type(type(task)))

    def _make(self, asked: "_Asked[ResultT]") -> ResultT:
        """Run the task and store its result."""
        task, name = asked.task, asked.task.NAME
        ready, python = asked.apart.prepare() if asked.apart else (task, None)
        with self._take_turn(task), self.progress.stage(asked.words), self.store.scratch() as scratch:
            asked = replace(asked, started=time.monotonic())  # what it waited for is no work
            out = scratch / "out"
            (out / _FILES).mkdir(parents=True)
            setting = Setting(
                scratch, out / _FILES, python, root=self.root, ignored=(self.store.root,), progress=self.progress,
                sandbox=self.sandbox,
            )  # fmt: skip
            outcome: Outcome[ResultT] = call(ready, setting)
            if not task.keeps(outcome.result):
                self.read.lasting = False
                # Only its values outlive the scratch folder, so such a result must hold no files.
                self.record(name, asked.of, asked.started, "", cached=False)
                return outcome.result
            (out / _RESULT).write_bytes(outcome.data)
            key = digest_value((asked.base, outcome.trace))
            with self.store.making(name, key) as folder:
                for path in out.iterdir():
                    path.rename(folder / path.name)
            self._remember(name, asked.base, outcome.trace)
            if self.store.shared:
                self.store.shared.give_trace(name, asked.base, encode(outcome.trace))
        self.record(name, asked.of, asked.started, key, cached=False)
        self._note(asked, outcome.trace)
        return decode(outcome.data, find_result_type(type(task)), self.store.path(name, key) / _FILES)

    def _take_turn(self, task: Task[ResultT]) -> AbstractContextManager[None]:
        """Let builds that run at once not disturb each other's measurements."""
        if type(task).MEASURES:
            return measuring(lambda: self.progress.note("it waits for other builds, to measure alone"))
        return working()

    def _tell_waiting(self, words: str) -> None:
        self.progress.note(f"another build is at '{words}': waiting for its result")

    def keep(
        self, name: str, request: Any, kind: type[ResultT], module: str, make: Callable[[], ResultT], *, of: str = ""
    ) -> ResultT:
        """Return the result of work that this process does itself, the stored one if there is one.

        ``request`` is all that ``make`` reads, and ``module`` is where its code is; ``of`` is as for ``run``.
        """
        started = time.monotonic()
        words = f"{name} {of}".strip()
        key = digest_value((name, digest_code(module), request))
        found = self.store.get(name, key, here=True)
        if found is None:
            with self.store.alone(name, key, lambda: self._tell_waiting(words)):
                found = self.store.get(name, key)
                if found is None:
                    started = self._make_here(name, key, words, make)
        if found:
            self.progress.skip(words, "unchanged")
        self.record(name, of, started, key, cached=found is not None)
        self.read.note(Step(name, of, self._describe(request)))
        return read_result(self.store.path(name, key), kind)

    def _make_here(self, name: str, key: str, words: str, make: Callable[[], Any]) -> float:
        """Store what this process makes itself; return when it began, which is after others were waited for."""
        with working(), self.progress.stage(words):
            started = time.monotonic()
            made = encode(make())
            with self.store.making(name, key) as folder:
                (folder / _RESULT).write_bytes(made)
        return started

    def _recall(self, name: str, base: str) -> Stored | None:
        """Return the stored result whose trace still holds, the newest first."""
        for trace in reversed(self.read_traces(name, base)):
            if trace.holds(self.root) and (stored := self._find(name, base, trace)):
                note_use(self._place(name, base))
                return stored
        return None

    def _recall_shared(self, name: str, base: str) -> Stored | None:
        """Return the result of another machine whose trace holds here, which is remembered from now on."""
        if self.store.shared is None or self.store.fresh:
            return None
        for message in reversed(self.store.shared.list_traces(name, base)):
            trace = _read_trace(message)
            if trace and trace.holds(self.root) and (stored := self._find(name, base, trace)):
                self._remember(name, base, trace)
                return stored
        return None

    def _find(self, name: str, base: str, trace: Trace) -> Stored | None:
        key = digest_value((base, trace))
        found = self.store.get(name, key)
        return Stored(key, found, trace) if found else None

    def read_traces(self, name: str, base: str) -> tuple[Trace, ...]:
        """Return the traces of the stored results of a request, the newest last."""
        try:
            return decode(read_regular(self._place(name, base), _TRACES_LIMIT), tuple[Trace, ...])
        except (OSError, ValueError, RecursionError):
            return ()

    def _remember(self, name: str, base: str, trace: Trace) -> None:
        """Write the trace down as the newest; of two builds at once one may be lost, which costs a run and no truth."""
        known = [other for other in self.read_traces(name, base) if other != trace]
        self.store.write(self._place(name, base), encode((*known, trace)[-_MOST_TRACES:]))

    def _place(self, name: str, base: str) -> Path:
        return self.store.root / _TRACES / name / base

    def _note(self, asked: "_Asked[Any]", trace: Trace) -> None:
        environment = asked.apart.key if asked.apart else ""
        step = Step(asked.task.NAME, asked.of, self._describe(asked.task), environment, trace)
        self.read.note(step)
        for path, known in trace.files.items():
            self.read.note_file(self.root / path, known)

    def _describe(self, request: Any) -> Any:
        """Return a request as plain values, and note the files that it names."""
        described = describe_request(request)
        for path, known in described.files.items():
            self.read.note_file(Path(path), known)
        own = (self.store.root, PACKAGE)
        if not all(any(map(path.is_relative_to, own)) for path in described.artifacts):
            self.read.lasting = False  # how another file there would be told from this one, nobody says
        return described.tree

    def record(self, name: str, of: str, started: float, key: str, *, cached: bool) -> None:
        """Note that a task, or work of this process, was done or stood already."""
        self.records.append(StageRecord(name, round(time.monotonic() - started, 3), cached, key, of))


@dataclass(frozen=True)
class Apart:
    """The environment and files of a task, which are only made when the task really runs."""

    key: str
    """The key of what is installed in the environment; empty where it is this process's own."""
    prepare: Callable[[], tuple[Task[Any], Path | None]]
    """A function that returns the task with all its files here, and the environment's interpreter."""


@dataclass(frozen=True)
class _Asked(Generic[ResultT]):
    """A request to the runner, with what tells it apart."""

    task: Task[ResultT]
    apart: Apart | None
    of: str
    base: str
    started: float

    @property
    def words(self) -> str:
        """Return the task as a person sees it."""
        return f"{self.task.NAME} {self.of}".strip()


def read_result(folder: Path, kind: type[ResultT]) -> ResultT:
    """Return the result in an entry.

    Raises:
        EngineError: the entry is whole, and somebody wrote something else into it.
    """
    try:
        return decode((folder / _RESULT).read_bytes(), kind, folder / _FILES)
    # What a message holds of another form, a decoder meets as any of these.
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        text = f"the store holds something else than the result of a build: {flatten_words(error, 200)}"
        raise EngineError(text, f"remove '{folder.parent}', and it is made anew") from None


def _read_trace(message: bytes) -> Trace | None:
    """Return a trace that another machine left; None if it is none, or would read files of the machine itself."""
    try:
        trace = decode(message, Trace)
    except (ValueError, RecursionError):
        return None
    return trace if trace.is_modest() else None


def base_key(task: Task[Any], environment: str) -> str:
    """Return the digest of a request and of the kind of machine and Python that answers it."""
    kind = type(task)
    here = (platform.machine(), platform.python_implementation(), platform.python_version())
    return digest_value((kind.__module__, kind.__qualname__, here, environment, task))
