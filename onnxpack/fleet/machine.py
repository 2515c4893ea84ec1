"""The cores and the memory that this process may use: the machine's, or what its control groups leave of them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_MEMORY = Path("/proc/meminfo")
_NO_LIMIT = 2**60
"""Version 1 of control groups says a number beyond this one where there is no limit."""


def count_cores(own: Path = _OWN, groups: Path = _GROUPS) -> int:
    """Return how many cores' worth of time this process may use: at least 1.

    ``own`` lists the control groups of the process, as ``/proc/self/cgroup`` does, and ``groups`` is where they are.
    """
    found = float(len(os.sched_getaffinity(0)))
    for folder in _list_groups(own, groups, "cpu"):
        if (quota := _read_words(folder / "cpu.max")) and quota[0].isdigit():
            found = min(found, int(quota[0]) / int(quota[1]))
        quota, period = _read_words(folder / "cpu.cfs_quota_us"), _read_words(folder / "cpu.cfs_period_us")
        if quota and period and quota[0].isdigit():  # -1 is no limit
            found = min(found, int(quota[0]) / int(period[0]))
    return max(1, int(found))


def find_free_memory(own: Path = _OWN, groups: Path = _GROUPS, memory: Path = _MEMORY) -> int:
    """Return how many bytes of memory this process and its children may still take; the files are as above."""
    found = _read_available(memory)
    for folder in _list_groups(own, groups, "memory"):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            most, used = _read_words(folder / limit), _read_words(folder / usage)
            if most and used and most[0].isdigit() and int(most[0]) < _NO_LIMIT:
                found = min(found, int(most[0]) - int(used[0]) + _read_cache(folder))
    return max(0, found)


def _list_groups(own: Path, groups: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the process' groups and of those around them, for either version of control groups."""
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            root = groups / controllers if controllers else groups
            folder = root / path.lstrip("/")
            # In a container the path may be the host's, and its own group is what stands at the root.
            yield from (place for place in (folder, *folder.parents) if place.is_relative_to(root))


def _read_available(memory: Path) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in memory.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read_cache(folder: Path) -> int:
    """Return the bytes of a group's files in memory that the kernel gives back when they are needed."""
    for line in _read_lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file") and value.isdigit():
            return int(value)
    return 0


def _read_words(path: Path) -> list[str]:
    return next((line.split() for line in _read_lines(path)), [])


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
