"""Runs a task in a child process: what loads a model, runs user code or runs a graph cannot take the parent down.

The two sides exchange messages of ``worker.codec`` through files only; a child's typed error becomes the parent's.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from onnxpack.errors import BY_EXIT_CODE, Problem, SourceError
from onnxpack.progress import Progress
from onnxpack.worker.codec import decode, encode
from onnxpack.worker.sandbox import confine, find_paths, restore_status
from onnxpack.worker.task import Task, result_type
from onnxpack.worker.trace import Trace

ResultT = TypeVar("ResultT")

REQUEST, ANSWER, LOG, SAID = "request", "answer", "log.txt", "said"
"""The files in the scratch folder that both sides know."""
NO_ROOM = 74
"""The child's exit status where a disk is full: EX_IOERR of sysexits.h."""
_LOG_LINES = 20
_PERIOD = 1.0  # seconds between two looks at what a child says


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


@dataclass(frozen=True)
class Setting:
    """Where and how a task runs."""

    scratch: Path
    """An existing folder for the messages and for what the child prints."""
    folder: Path | None = None
    """Where files of the result go; left out: the scratch folder."""
    python: Path | None = None
    """The interpreter of an isolated environment; left out: this one."""
    within: float | None = None
    """Its time in seconds."""
    root: Path = Path("/")
    ignored: tuple[Path, ...] = ()
    progress: Progress | None = None
    """Who hears what the task says."""
    sandbox: bool = False
    """Whether it runs without network, secrets, and files to write; see ``worker.sandbox``."""


def call(task: Task[ResultT], setting: Setting) -> Outcome[ResultT]:
    """Run a task in a new process and return what came of it.

    Raises:
        OnnxpackError: the one that the task raised.
        SourceError: the process died, by a signal or by an exception that is not typed, or its time is over.
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
    status = _run(task, setting)
    if status == NO_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(scratch))
    if not (scratch / ANSWER).exists():
        raise SourceError(
            f"the process of stage '{task.NAME}' died: {_death(status)}",
            "the end of its output is below; too little memory is the usual cause of a kill",
            _tail(scratch / LOG),
        )
    answer = decode((scratch / ANSWER).read_bytes(), Answer)
    if answer.crash:
        raise SourceError(f"stage '{task.NAME}' failed: {answer.crash}", "the cause is below", answer.stack)
    if answer.result is None or answer.trace is None:
        raise BY_EXIT_CODE[answer.exit_code](answer.problems)
    return Outcome(decode(answer.result, result_type(kind), folder), answer.result, answer.trace)


def _run(task: Task[ResultT], setting: Setting) -> int:
    """Start the child, wait for its end, and return its exit status; its whole process group ends with it."""
    scratch, within = setting.scratch, setting.within
    # -P: no file of the working folder takes the place of a module of the same name
    command = [str(setting.python or sys.executable), "-P", "-m", "onnxpack.worker", str(scratch)]
    environment = _environment(_isolate(scratch) if setting.python else {})
    confined = setting.sandbox and not task.NETWORK
    if confined:
        seen = (setting.root, *setting.ignored, *find_paths(task))
        written = (setting.folder,) if setting.folder else ()
        command, environment = confine(command, environment, scratch, seen, written)
    with (scratch / LOG).open("wb") as output, _following(scratch / SAID, setting.progress):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,  # ctrl-C reaches the parent alone, which ends the whole group
        )
        try:
            status = process.wait(within)
            return restore_status(status) if confined else status
        except subprocess.TimeoutExpired:
            raise SourceError(
                f"stage '{task.NAME}' took more than {within:g} s", "a smaller model may say more"
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def _following(words: Path, progress: Progress | None) -> Iterator[None]:
    """Note what the child keeps writing into a file, as long as it works."""
    if progress is None:
        yield
        return
    done = threading.Event()

    def follow(progress: Progress = progress) -> None:
        said = ""
        while not done.wait(_PERIOD):
            with contextlib.suppress(OSError):  # it says nothing yet, or is writing at this moment
                if (text := words.read_text()) != said:
                    said = text
                    progress.note(text)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


def _environment(changes: dict[str, str | None]) -> dict[str, str]:
    merged = {
        **os.environ,
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONHASHSEED": "0",  # exporters iterate over sets
        "PYTHONDONTWRITEBYTECODE": "1",  # nothing is written beside a user's code, nor in the store
        **changes,
    }
    return {name: value for name, value in merged.items() if value is not None}


def _isolate(scratch: Path) -> dict[str, str | None]:
    """Show a child of another environment this package, and nothing else of this one's; None unsets a variable.

    The folder that this package is in may hold all that is installed here, so the path names a link to it alone.
    """
    folder = scratch / "path"
    folder.mkdir(exist_ok=True)
    link = folder / "onnxpack"
    if not link.is_symlink():
        link.symlink_to(Path(__file__).resolve().parent.parent)
    return {"PYTHONPATH": str(folder), "PYTHONHOME": None, "PYTHONNOUSERSITE": "1", "VIRTUAL_ENV": None}


def _death(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])
