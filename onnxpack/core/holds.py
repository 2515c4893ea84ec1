"""Files in use: whoever uses one holds a shared lock on it, so that whoever removes old files leaves it alone.

Such a lock ends with its process, however that ends. The time of a file's last change says when it was used last.
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from onnxpack.core.scratch import acquire_flock, is_at

_MOST = 256
"""How many files a process holds at once, of the 1024 that it may open; one build uses fewer than a hundred."""
_TICK = 60.0
"""Seconds within which a second use is not written down again."""
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Not through a link, and not blocked by a pipe."""


class Holds:
    """The files that this process uses now: those that it asked for last."""

    def __init__(self) -> None:
        self._held: dict[Path, int] = {}
        """The descriptors by path, the one that was used longest ago first."""

    def hold(self, path: Path) -> bool:
        """Keep a file from being removed by another process, and note that it is used now.

        Return whether it is there, and not being removed at this moment.
        """
        descriptor = self._held.pop(path, None)
        if descriptor is not None and not is_at(descriptor, path):
            os.close(descriptor)
            descriptor = None
        if descriptor is None:
            descriptor = _open_shared(path)
            if descriptor is None:
                return False
        self._held[path] = descriptor
        note_use(descriptor)
        while len(self._held) > _MOST:
            os.close(self._held.pop(next(iter(self._held))))
        return True

    def release(self) -> None:
        """Give up all files."""
        while self._held:
            os.close(self._held.popitem()[1])

    def __del__(self) -> None:
        self.release()


@contextlib.contextmanager
def unheld(path: Path) -> Iterator[bool]:
    """Yield whether nobody holds a file, and let nobody take hold of it as long as the block lasts.

    Where a file system has no locks, every file counts as held.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | _FLAGS)
    except OSError:
        yield False
        return
    try:
        yield _lock(descriptor, fcntl.LOCK_EX) is True and is_at(descriptor, path)
    finally:
        os.close(descriptor)


def note_use(file: Path | int) -> None:
    """Write down that a file, or one that is open, is used now; a use a moment after another one is not."""
    with contextlib.suppress(OSError):  # a store that others own can be read all the same
        if abs(time.time() - os.stat(file).st_mtime) > _TICK:  # noqa: PTH116 - it may be a descriptor
            os.utime(file)


def _open_shared(path: Path) -> int | None:
    """Open a regular file and lock it for this process among others; None if there is none, or it is being removed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return None
    # Without locks nobody removes anything, so a file is taken all the same.
    if (
        stat.S_ISREG(os.fstat(descriptor).st_mode)
        and _lock(descriptor, fcntl.LOCK_SH) is not False
        and is_at(descriptor, path)
    ):
        return descriptor
    os.close(descriptor)
    return None


def _lock(descriptor: int, how: int) -> bool | None:
    """Return whether a lock could be had at once; None if the file system has none."""
    try:
        return acquire_flock(descriptor, how | fcntl.LOCK_NB) or None
    except BlockingIOError:
        return False
