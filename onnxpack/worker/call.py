"""The parent's side of a task: it runs in a child process, so that a crash of it is an error and no more.

The two sides exchange messages of ``worker.codec`` through files only; a child's typed error becomes the parent's.
"""

import errno
import os
import stat
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import msgspec

from onnxpack.cache.trace import Trace, find_distributions, find_package_owners
from onnxpack.core.errors import BY_EXIT_CODE, Problem, SourceError
from onnxpack.core.regular import read_regular
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.worker.codec import decode, encode
from onnxpack.worker.process import Ended, Setting, run_process
from onnxpack.worker.sandbox import find_paths
from onnxpack.worker.task import Task, find_result_type

ResultT = TypeVar("ResultT")

__all__ = [
    "ANSWER",
    "MOST_PROBLEMS",
    "NO_ROOM",
    "REQUEST",
    "Answer",
    "Message",
    "Outcome",
    "Setting",
    "call",
    "call_alone",
]

REQUEST, ANSWER = "request", "answer"
"""The names of the message files in the scratch folder."""
NO_ROOM = 74
"""The child's exit status where a disk is full: EX_IOERR of sysexits.h."""
_ANSWER_LIMIT = 64 * 2**20  # bytes; arrays travel as files, so an answer has thousands
_STORED = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
MOST_PROBLEMS = 1000
"""Of one answer: a person reads fewer, and code of a model could write millions of them."""


@dataclass(frozen=True)
class Message:
    """The request to a child: a task by its class, its encoded fields, and the folder for files of the result."""

    module: str
    name: str
    request: bytes
    folder: Path
    root: Path
    """The work tree, which a trace's files are relative to."""
    ignored: tuple[Path, ...]
    """Paths that are no input of any task: the store, and the scratch folder."""
    isolated: bool


@dataclass(frozen=True)
class Answer:
    """The answer of a child: a result with its trace, a typed error, or an unexpected exception."""

    result: bytes | None = None
    trace: Trace | None = None
    packages: tuple[str, ...] = ()
    """The top-level packages that the child imported."""
    exit_code: int = 0
    problems: Annotated[tuple[Problem, ...], msgspec.Meta(max_length=MOST_PROBLEMS)] = ()
    no_room: str | None = None
    """A file that a disk has no room for; empty if it is not known which."""
    crash: str = ""
    stack: str = ""


@dataclass(frozen=True)
class Outcome(Generic[ResultT]):
    """A result, the same encoded for the store, and the trace of what it depends on besides the request."""

    result: ResultT
    data: bytes
    trace: Trace


class _NoRoomError(Exception):
    """A disk is full; the text is the file that there is no room for, if it is known."""


def call(task: Task[ResultT], setting: Setting) -> Outcome[ResultT]:
    """Run a task in a new process and return its outcome.

    Raises:
        OnnxpackError: the one that the task raised.
        SourceError: the process died, by a signal or an unexpected exception, its time is over, or its answer cannot
            be read.
        OSError: there was no room on a disk.
    """
    kind, scratch = type(task), setting.scratch
    folder = setting.folder or scratch
    message = Message(
        kind.__module__, kind.__qualname__, encode(task), folder, setting.root,
        (*setting.ignored, scratch, folder), setting.python is not None,
    )  # fmt: skip
    (scratch / REQUEST).write_bytes(encode(message))
    (scratch / ANSWER).unlink(missing_ok=True)
    if setting.python is None:
        # It takes as long as a short task, and is known before any task ends.
        threading.Thread(target=find_package_owners, daemon=True).start()
    before = folder.lstat()
    seen = (setting.root, *setting.ignored, *find_paths(task)) if setting.sandbox and not kind.TRUSTED else None
    ended = run_process(task.NAME, setting, seen, whole_environment=kind.TRUSTED)
    if ended.status == NO_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(scratch))
    outcome = _read_outcome(task, ended, scratch, folder)
    if not kind.TRUSTED:
        _require_untouched(task, setting, before)
    return outcome


def call_alone(
    task: Task[ResultT], *, within: float | None = None, sandbox: bool = False, root: Path = Path("/")
) -> ResultT:
    """Run a task in a temporary folder and return its result, without its files; raise as ``call`` does.

    ``within``, ``sandbox`` and ``root`` are those of a ``Setting``.
    """
    with make_temporary_folder() as scratch:
        return call(task, Setting(scratch, within=within, sandbox=sandbox, root=root)).result


def _require_untouched(task: Task[ResultT], setting: Setting, before: os.stat_result) -> None:
    """Make sure that the folder of a result is the one that was made for it, and holds what can be stored.

    Raises:
        SourceError: code of a model moved it away, or left a pipe or the like in it.
    """
    folder = setting.folder or setting.scratch
    hint = "code of the model did that: it must leave the files of its process alone"
    try:
        if not os.path.samestat(folder.lstat(), before):
            raise FileNotFoundError
        # The scratch folder has temporary files too, sockets of libraries among them.
        made = folder.rglob("*") if setting.folder else ()
        strange = next((path for path in made if stat.S_IFMT(path.lstat().st_mode) not in _STORED), None)
    except OSError:
        raise SourceError(f"the process of stage '{task.NAME}' moved its folder away", hint) from None
    if strange:
        text = f"the process of stage '{task.NAME}' left '{strange.name}' among its results, which is no file"
        raise SourceError(text, hint)


def _read_outcome(task: Task[ResultT], ended: Ended, scratch: Path, folder: Path) -> Outcome[ResultT]:
    """Read the answer in the scratch folder, which is not trusted, since code of a model may have written it."""
    try:
        answer = decode(read_regular(scratch / ANSWER, _ANSWER_LIMIT), Answer)
        if answer.no_room is not None:
            raise _NoRoomError(answer.no_room)
        if answer.crash:
            raise SourceError(f"stage '{task.NAME}' failed: {answer.crash}", "the cause is below", answer.stack)
        if answer.result is None or answer.trace is None:
            if not answer.problems or not all(problem.message for problem in answer.problems):
                raise ValueError("it holds neither a result nor an error")
            raise BY_EXIT_CODE[answer.exit_code](answer.problems)
        result = decode(answer.result, find_result_type(type(task)), folder)
    except _NoRoomError as full:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(full) or str(scratch)) from None
    except FileNotFoundError:
        raise SourceError(
            f"the process of stage '{task.NAME}' died: {ended.words}",
            "the end of its output is below; too little memory is the usual cause of a kill",
            ended.printed,
        ) from None
    # A decoder raises any of these for a message of another form.
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise SourceError(
            f"the answer of stage '{task.NAME}' cannot be used: {error}",
            "code of the model may have written into the files of its process; the end of its output is below",
            ended.printed,
        ) from None
    trace = answer.trace
    if not trace.isolated:
        trace = replace(trace, distributions=find_distributions(answer.packages))
    return Outcome(result, answer.result, trace)
