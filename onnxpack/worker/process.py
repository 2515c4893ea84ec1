"""The process of a task: its start, its output, its time limit, and its end with all that it started."""

import contextlib
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.core.interrupts import holding
from onnxpack.core.periodic import repeating
from onnxpack.core.progress import Progress
from onnxpack.core.regular import read_regular
from onnxpack.spec.messages import shorten
from onnxpack.worker.log import Log
from onnxpack.worker.sandbox import confine, restore_status
from onnxpack.worker.variables import TIMEOUT_VARIABLE, make_child_environment

SAID = "said"
"""The file in the scratch folder that holds a task's latest note on its progress."""
DEFAULT_TIMEOUT = 4 * 3600.0
"""Seconds that a task may take: the export of a model of thousands of millions of weights takes minutes, and a graph
with an endless loop would take for ever."""
_PERIOD = 1.0  # seconds between two looks at what a child says
_GRACE = 15.0  # seconds for a child to end what it started
_LONGEST_WORDS = 400  # of what it says: bytes


@dataclass(frozen=True)
class Setting:
    """The folders, interpreter, time limit and sandbox of a task's process."""

    scratch: Path
    """An existing folder for the messages and for the task's temporary files."""
    folder: Path | None = None
    """The folder for files of the result; by default the scratch folder."""
    python: Path | None = None
    """The interpreter of an isolated environment; by default this one."""
    within: float | None = None
    """The time limit in seconds; by default ``ONNXPACK_TASK_TIMEOUT``, else four hours."""
    root: Path = Path("/")
    ignored: tuple[Path, ...] = ()
    progress: Progress | None = None
    """Receives the task's notes on its progress."""
    sandbox: bool = False
    """Whether the task runs without network, secrets and files to write; see ``worker.sandbox``."""


@dataclass(frozen=True)
class Ended:
    """The end of a process: its exit status, negative for a signal, and the last lines of its output."""

    status: int
    printed: str

    @property
    def words(self) -> str:
        """Return the status in words."""
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            return f"killed by {signal.Signals(-self.status).name}"
        except ValueError:  # a real-time signal has no name
            return f"killed by signal {-self.status}"


def run_process(name: str, setting: Setting, seen: tuple[Path, ...] | None, *, whole_environment: bool) -> Ended:
    """Run the child for the request in the scratch folder, and wait for its end.

    ``seen`` has the paths that it may see in a sandbox; None means no sandbox.

    Raises:
        SourceError: its time is over.
        SpecError: the variable for its time cannot be read.
    """
    scratch = setting.scratch
    within = read_task_timeout() if setting.within is None else setting.within
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = make_child_environment(
        _isolate(scratch) if setting.python else {}, temporary, whole=whole_environment
    )
    # -P: no file of the working folder takes the place of a module of the same name
    command = [str(setting.python or sys.executable), "-P", "-m", "onnxpack.worker", str(scratch)]
    if seen is not None:
        command, environment = confine(command, environment, scratch, seen, (setting.folder or scratch,))
    with _report_notes(scratch / SAID, setting.progress), holding(lambda: _start(command, environment), _end) as child:
        try:
            child.process.wait(None if math.isinf(within) else within)
        except subprocess.TimeoutExpired:
            raise SourceError(f"stage '{name}' took more than {within:g} s", _suggest_time(setting)) from None
    status = child.process.returncode if seen is None else restore_status(child.process.returncode)
    return Ended(status, child.log.last_lines())


@dataclass(frozen=True)
class _Child:
    """A child at work, and what it prints."""

    process: subprocess.Popen[bytes]
    log: Log


def _start(command: list[str], environment: dict[str, str]) -> _Child:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # ctrl-C reaches the parent alone, which ends the whole group
    )
    assert process.stdout
    log = Log(os.dup(process.stdout.fileno()))
    process.stdout.close()
    return _Child(process, log)


def read_task_timeout() -> float:
    """Return the time limit of a task in seconds.

    Raises:
        SpecError: ``ONNXPACK_TASK_TIMEOUT`` is not a positive number.
    """
    text = os.environ.get(TIMEOUT_VARIABLE)
    if not text:
        return DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise SpecError(
            f"{TIMEOUT_VARIABLE} must be a number of seconds, not '{shorten(text)}'",
            "set it to a positive number, such as 7200",
        )
    return seconds


def _suggest_time(setting: Setting) -> str:
    if setting.within is not None:
        return "try it with a smaller model"
    return f"if it is not in an endless loop, allow more seconds, such as {TIMEOUT_VARIABLE}=86400"


def _end(child: _Child) -> None:
    """End the child with all that it started: first by its own supervisor, then by killing its process group."""
    process = child.process
    try:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        child.log.close()


def _report_notes(words: Path, progress: Progress | None) -> contextlib.AbstractContextManager[None]:
    """Report the notes that the child writes into the file ``words``, as long as the block lasts."""
    if progress is None:
        return contextlib.nullcontext()
    said = ""

    def look(progress: Progress = progress) -> None:
        nonlocal said
        # Code of a model may have written anything there, so it is bounded and need not be text.
        if (text := read_regular(words, _LONGEST_WORDS).decode(errors="replace")) != said:
            said = text
            progress.note(text)

    return repeating(look, _PERIOD)


def _isolate(scratch: Path) -> dict[str, str | None]:
    """Return the variables by which a child of another environment finds this package only; None unsets one.

    The folder that this package is in may hold all that is installed here, so the path names a link to it alone.
    """
    folder = scratch / "path"
    folder.mkdir(exist_ok=True)
    link = folder / "onnxpack"
    if not link.is_symlink():
        link.symlink_to(Path(__file__).resolve().parent.parent)
    return {"PYTHONPATH": str(folder), "PYTHONHOME": None, "PYTHONNOUSERSITE": "1", "VIRTUAL_ENV": None}
