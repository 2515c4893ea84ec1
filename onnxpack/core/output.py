"""Outputs appear whole or not at all: filled beside, then swapped in with one rename."""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from onnxpack.core.interrupts import uninterrupted
from onnxpack.core.scratch import working_folder

_AT_FDCWD = -100  # fcntl.h: relative paths start at the working folder, as for other calls
_RENAME_EXCHANGE = 2  # renameat2(2)


@contextlib.contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """Yield a new empty folder that replaces the folder ``destination`` if the block succeeds, and is removed if not.

    Raises:
        OSError: there is no room, or a file or link is in its place, which stays.
    """
    with working_folder(destination.parent) as work:
        fresh = work / "new"
        fresh.mkdir()
        yield fresh
        try:
            fresh.rename(destination)
        except OSError as error:
            # Asked first, the answer could be old: another build may put its output there at this moment.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            with uninterrupted():  # between two renames nothing would stand there
                _exchange(fresh, destination)


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders atomically; where the file system cannot, by two renames."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is None or exchange(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        # Between the two renames there is no output for a moment.
        old = other.rename(one.with_name("old"))
        try:
            one.rename(other)
        except OSError:
            old.rename(other)
            raise
