"""The supervisor of a task's process, which ends all that the task started, even if the build is killed.

The child forks: one process does the work, and the other waits for it and adopts what the work leaves behind. Only
descendants of the task are ended, never another process of this user.

It also supervises other programs, run by its path: ``supervise.py REPORT[:PARENT] PROGRAM ARGUMENT… -- CLEANER…``
writes the number of the program's process to the file descriptor ``REPORT`` (0: to none), as ``{"child-pid": …}``. The
cleaner runs if the build is killed; without one the command ends with ``--``. ``PARENT`` is the number of the build's
process: if that died before it could be watched, nothing is started.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_PERIOD = 0.005  # seconds between two looks for children that are left
_LONGEST = 10.0  # seconds for killed processes to end
STOPPED = 143
"""The exit status after SIGTERM: 128 plus the signal's number, as shells have it."""
_cleaner: list[str] = []
"""The program that removes what is left of a killed build."""


def supervise(cleaner: Sequence[str] = (), parent: int = 0) -> None:
    """Fork: return in a new process that does the work, while the old one waits for it and ends with its status.

    If it is told to stop, it runs the program ``cleaner`` when all of the work has ended.
    """
    _cleaner[:] = cleaner
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, _stop)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # a build that is killed takes all with it
    if _is_abandoned() or (parent and os.getppid() != parent):
        os._exit(STOPPED)
    worker = os.fork()
    if worker == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == worker:
            break
    _end_descendants()
    _end_as(status)


def _is_abandoned() -> bool:
    """Return whether the build died before it could be watched: the other end of the output's pipe is closed."""
    output = select.poll()
    output.register(1, 0)
    return any(event & select.POLLERR for _, event in output.poll(0))


def _stop(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would begin this again
    _end_descendants()
    if _cleaner:
        with contextlib.suppress(OSError):
            os.spawnv(os.P_WAIT, _cleaner[0], _cleaner)  # noqa: S606
    os._exit(STOPPED)


def _end_descendants() -> None:
    """Kill all children until there are none; the children of a killed process become this process's own."""
    deadline = time.monotonic() + _LONGEST  # one of another user may refuse
    while time.monotonic() < deadline:
        for pid in _list_children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_PERIOD)


def _list_children() -> list[int]:
    own = str(os.getpid())
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                # After the name, in brackets that it may hold too: the state, then the parent. proc(5)
                if (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1] == own:
                    found.append(int(folder.name))
    return found


def _end_as(status: int) -> NoReturn:
    """End this process with the wait status of another one, by the same signal if it was one."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would be this process's memory, not the worker's
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) % 256)


def main(arguments: list[str]) -> NoReturn:
    """Supervise a program, as the module's text says."""
    place, *rest = arguments
    report, _, parent = place.partition(":")
    # A program's own arguments may hold the sign too; a cleaner's never do.
    end = len(rest) - 1 - rest[::-1].index("--")
    command, cleaner = rest[:end], rest[end + 1 :]
    supervise(cleaner, int(parent or 0))
    if int(report):
        with os.fdopen(int(report), "w") as stream:
            stream.write(f'{{"child-pid": {os.getpid()}}}')
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
