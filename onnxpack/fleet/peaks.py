"""The peak memory of a process tree: of this process with all that it started, while a block lasts."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from onnxpack.core.periodic import repeating

_PERIOD = 0.5  # seconds
_PROCESSES = Path("/proc")


class Peak:
    """The highest sum of what the processes of a tree had in memory, in bytes; 0 until the first look.

    A descendant counts by its own peak, which the kernel remembers: so what lasts shorter than the time between two
    looks counts too. Pages that processes share count in each, so the sum is rather too high.
    """

    def __init__(self) -> None:
        self.bytes = 0

    def look(self) -> None:
        """Look at the tree now."""
        own = os.getpid()
        found = _read_status(own, "VmRSS")
        found += sum(_read_status(pid, "VmHWM") for pid in list_descendants(own))
        self.bytes = max(self.bytes, found)


@contextlib.contextmanager
def measure_peak() -> Iterator[Peak]:
    """Look at this process' tree time and again as long as the block lasts."""
    peak = Peak()
    with repeating(peak.look, _PERIOD):
        yield peak
    with contextlib.suppress(OSError):
        peak.look()


def list_descendants(root: int) -> set[int]:
    """Return the numbers of all processes that a process started, and those started, as long as they run."""
    children: dict[int, list[int]] = {}
    for name in os.listdir(_PROCESSES):  # noqa: PTH208 - names are meant, and there are many
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended
                # After the name, in brackets that it may hold too: the state, then the parent. proc(5)
                fields = (_PROCESSES / name / "stat").read_text(errors="replace").rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(name))
    found: set[int] = set()
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        waiting += [pid for pid in below if pid not in found]
        found.update(below)
    return found


def _read_status(pid: int, field: str) -> int:
    """Return a size in a process' status in bytes; 0 where the process has ended."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (_PROCESSES / str(pid) / "status").read_text(errors="replace").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0
