"""Outputs appear whole or not at all: filled beside, then swapped in with one rename."""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from onnxpack.scratch import working_folder

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # renameat2(2)


@contextlib.contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """Give a new empty folder that takes the place of the folder ``destination`` when the block ends well, else goes.

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
            _exchange(fresh, destination)


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders atomically; where the file system cannot, by two renames."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is None or exchange(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        old = other.rename(one.with_name("old"))
        try:
            one.rename(other)
        except OSError:
            old.rename(other)
            raise
