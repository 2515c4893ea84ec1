"""Runs a task in a child process: what loads a model, runs user code or runs a graph cannot take the parent down.

The two sides exchange messages of ``worker.codec`` through files only; a child's typed error becomes the parent's.
"""

import errno
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from onnxpack.errors import BY_EXIT_CODE, Problem, SourceError
from onnxpack.regular import read_regular
from onnxpack.scratch import temporary_folder
from onnxpack.worker.codec import decode, encode
from onnxpack.worker.process import Ended, Setting, run_process
from onnxpack.worker.sandbox import find_paths
from onnxpack.worker.task import Task, result_type
from onnxpack.worker.trace import Trace, imported_distributions, package_owners

ResultT = TypeVar("ResultT")

__all__ = ["ANSWER", "NO_ROOM", "REQUEST", "Answer", "Message", "Outcome", "Setting", "call", "call_alone"]

REQUEST, ANSWER = "request", "answer"
"""The files in the scratch folder that both sides know."""
NO_ROOM = 74
"""The child's exit status where a disk is full: EX_IOERR of sysexits.h."""
_ANSWER_LIMIT = 256 * 2**20  # bytes; arrays travel as files, so an answer has thousands


@dataclass(frozen=True)
class Message:
    """What a child is asked: a task by its class, the request, and where the answer's files go."""

    module: str
    name: str
    request: bytes
    folder: Path
    root: Path
    """The work tree, which a trace's files are relative to."""
    ignored: tuple[Path, ...]
    """What is no input of any task: the store, and the scratch folder."""
    isolated: bool


@dataclass(frozen=True)
class Answer:
    """What a child gives: a result with its trace, a typed error, or an exception that nobody expected."""

    result: bytes | None = None
    trace: Trace | None = None
    packages: tuple[str, ...] = ()
    """The top packages that it imported."""
    exit_code: int = 0
    problems: tuple[Problem, ...] = ()
    crash: str = ""
    stack: str = ""


@dataclass(frozen=True)
class Outcome(Generic[ResultT]):
    """A result, its message for the store, and what it depends on besides the request."""

    result: ResultT
    data: bytes
    trace: Trace


def call(task: Task[ResultT], setting: Setting) -> Outcome[ResultT]:
    """Run a task in a new process and return what came of it.

    Raises:
        OnnxpackError: the one that the task raised.
        SourceError: the process died, by a signal or by an exception that is not typed, its time is over, or what it
            answered is no answer.
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
        threading.Thread(target=package_owners, daemon=True).start()
    seen = (setting.root, *setting.ignored, *find_paths(task)) if setting.sandbox and not kind.TRUSTED else None
    ended = run_process(task.NAME, setting, seen, whole_environment=kind.TRUSTED)
    if ended.status == NO_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(scratch))
    return _outcome(task, ended, scratch, folder)


def call_alone(task: Task[ResultT], *, within: float | None = None, sandbox: bool = False) -> ResultT:
    """Run a task in a temporary folder and return its result, of which nothing is kept; raises as ``call`` does.

    ``within`` and ``sandbox`` are those of a ``Setting``.
    """
    with temporary_folder() as scratch:
        return call(task, Setting(scratch, within=within, sandbox=sandbox)).result


def _outcome(task: Task[ResultT], ended: Ended, scratch: Path, folder: Path) -> Outcome[ResultT]:
    """Return what the answer in the scratch folder says, which code of a model may have written."""
    try:
        answer = decode(read_regular(scratch / ANSWER, _ANSWER_LIMIT), Answer)
        if answer.crash:
            raise SourceError(f"stage '{task.NAME}' failed: {answer.crash}", "the cause is below", answer.stack)
        if answer.result is None or answer.trace is None:
            if not answer.problems or not all(problem.message for problem in answer.problems):
                raise ValueError("it holds neither a result nor an error")
            raise BY_EXIT_CODE[answer.exit_code](answer.problems)
        result = decode(answer.result, result_type(type(task)), folder)
    except FileNotFoundError:
        raise SourceError(
            f"the process of stage '{task.NAME}' died: {ended.words}",
            "the end of its output is below; too little memory is the usual cause of a kill",
            ended.printed,
        ) from None
    # What a message holds of another form, a decoder meets as any of these.
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise SourceError(
            f"the answer of stage '{task.NAME}' cannot be used: {error}",
            "code of the model may have written into the files of its process; the end of its output is below",
            ended.printed,
        ) from None
    trace = answer.trace
    if not trace.isolated:
        trace = replace(trace, distributions=imported_distributions(answer.packages))
    return Outcome(result, answer.result, trace)
