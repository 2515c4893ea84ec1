"""Run a command and measure it with all that it starts: seconds, processor time, and the peak of its memory."""

import contextlib
import os
import resource
import subprocess
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PERIOD = 0.25  # seconds between two looks at the memory
_LONGEST = 4 * 3600.0


class RunError(Exception):
    """A command ended with another status than it should; the end of what it said is the message."""


@dataclass(frozen=True)
class Watched:
    """What a run of a command took."""

    seconds: float
    cpu_seconds: float
    """Of the command and all that it started and waited for."""
    peak_bytes: int
    """The largest sum of the memory of all processes at one time; what several share counts once."""
    out: str
    err: str


def run_watched(
    command: Sequence[str], variables: Mapping[str, str], beside: Collection[int] = (), status: int = 0
) -> Watched:
    """Run a command with variables besides those of this process, and measure it.

    The memory of the processes ``beside``, and of what they start, counts too.

    Raises:
        RunError: its exit status is another than ``status``.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    peaks = [0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(_PERIOD):
            peaks.append(read_tree_bytes({process.pid, *beside}))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        out, err = process.communicate(timeout=_LONGEST)
    finally:
        done.set()
        watcher.join()
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != status:
        raise RunError(f"{' '.join(command[:4])}… ended with {process.returncode}: {' '.join(err.split()[-80:])}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Watched(seconds, cpu, max(peaks), out, err)


def read_tree_bytes(roots: Collection[int]) -> int:
    """Return the memory of processes and all their descendants; a page that several have counts in parts."""
    parents = {int(path.name): _read_parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    members = set(roots)
    while grown := {pid for pid, parent in parents.items() if parent in members and pid not in members}:
        members |= grown
    return sum(map(_read_proportional, members))


def measure_folder(folder: Path) -> int:
    """Return the bytes that the files below a folder take; one with several names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            facts = path.lstat()
            seen[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(seen.values())


def _read_parent(folder: Path) -> int:
    with contextlib.suppress(OSError):  # it has just ended
        return int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return 0


def _read_proportional(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
