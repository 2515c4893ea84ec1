"""Outputs appear whole or not at all: filled beside, then swapped in with one rename."""

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # renameat2(2)


@contextlib.contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """A new empty folder that takes the place of ``destination`` when the block ends well, else goes."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        fresh = work / "new"
        fresh.mkdir()
        yield fresh
        try:
            fresh.rename(destination)
        except OSError as error:
            # Asked first, the answer could be old: another build may put its output there at this moment.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            _exchange(fresh, destination)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _exchange(one: Path, other: Path) -> None:
    """Swaps two folders atomically; where the file system cannot, by two renames."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        old = other.rename(one.with_name("old"))
        try:
            one.rename(other)
        except OSError:
            old.rename(other)
            raise
