"""Safe reading of files that anybody may have replaced: a pipe never blocks, and sizes are bounded."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def is_regular(path: Path) -> bool:
    """Return whether a regular file is there, links followed; a name that no file can have is none."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # too long; with a NUL, or half a character, in it
        return False


def open_regular(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading, through links if ``follow``.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    # Without O_NONBLOCK the opening of a pipe would wait for a writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file that is no link.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than ``limit`` bytes.
    """
    with open_regular(path, follow=False) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
    return data
