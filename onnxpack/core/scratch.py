"""Temporary working folders of a process, and locks that several processes share.

What is in use is locked by flock(2). Such a lock ends with its process, however that ends, so what a killed process
left is told from what another one works in.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from onnxpack.core.errors import EngineError, naming
from onnxpack.core.interrupts import holding, uninterrupted

_PREFIX = ".onnxpack-"
_NAME = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")
"""The names that ``mkdtemp`` makes with this prefix: nobody else's folder is taken for one of these."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF)
"""How a file system says that it has no locks: NFS refuses those of folders with EBADF."""

_NO_RENAME_OVER = (errno.EEXIST, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""How one says that nothing is renamed over a file."""


def is_working_name(name: str) -> bool:
    """Tell whether a folder of this name is one of ``working_folder``."""
    return bool(_NAME.fullmatch(name))


@contextlib.contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """Yield a new empty folder in ``parent``, which is made if it is missing, and remove the folder in the end.

    What killed processes left in ``parent`` is removed first.

    Raises:
        OSError: the folder cannot be made. Where the block itself raises one for a full disk that names no file, it
            names ``parent``.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    with holding(partial(_claim, parent), _remove) as claimed, naming(parent, only_unnamed=True):
        yield claimed.folder


def make_temporary_folder() -> contextlib.AbstractContextManager[Path]:
    """Make a ``working_folder`` in the machine's folder for temporary files."""
    with uninterrupted():  # to find that one, Python tries folders out with a file of its own
        place = Path(tempfile.gettempdir())
    return working_folder(place)


def sweep(parent: Path) -> None:
    """Remove the working folders in ``parent`` that no process has locked; without working locks, all stay."""
    with os.scandir(parent) as entries:
        found = [Path(entry) for entry in entries if is_working_name(entry.name)]
    for folder in found:
        with contextlib.suppress(OSError):  # it is gone, a link, somebody else's, or in use
            descriptor = _open_folder(folder)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def has_locks(folder: Path) -> bool:
    """Return whether the file system of a folder has locks; one that takes no files is not asked."""
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as stream:
        return acquire_flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock file ``path`` and remove it afterwards; call ``waiting`` once if another process has it.

    A ``shared`` lock is held by any number of processes at once, and by none while one has the lock alone. Give whether
    it is really held: False on a file system without locks.

    Raises:
        EngineError: something else is in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        with holding(partial(_open_lock, path), partial(_close_lock, path)) as descriptor:
            if not _is_free(descriptor, how):
                waiting()
                waiting = _wait_in_silence
                acquire_flock(descriptor, how)
            if is_at(descriptor, path):  # else whoever had it has removed the file
                yield acquire_flock(descriptor, how | fcntl.LOCK_NB)
                return


def replace_file(fresh: Path, destination: Path) -> None:
    """Let a file take the place of another one; where none can be renamed over another, by two renames.

    Raises:
        OSError: it cannot; what stood there still does.
    """
    try:
        fresh.replace(destination)
    except OSError as error:
        if error.errno not in _NO_RENAME_OVER or not destination.is_file():
            raise
        old = destination.rename(fresh.with_name(f"{fresh.name}.old"))
        try:
            fresh.rename(destination)
        except OSError:
            old.rename(destination)
            raise
        old.unlink()


def write_whole(path: Path, text: str) -> None:
    """Write a file, whole or not at all, in the place of the one that is there.

    Raises:
        OSError: it cannot be written; the error names it.
    """
    # A read-only disk refuses the folder; what a killed process leaves of it goes with the next one.
    with naming(path), working_folder(path.absolute().parent) as folder:
        whole = folder / "whole"
        whole.write_text(text, encoding="utf-8")
        replace_file(whole, path)


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` if no other process has it; yield whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with holding(partial(_open_lock, path), partial(_close_lock, path)) as descriptor:
        yield _is_free(descriptor) and is_at(descriptor, path)


@dataclass(frozen=True)
class _Claimed:
    """A folder to work in, and the descriptor that holds its lock."""

    folder: Path
    descriptor: int


def _claim(parent: Path) -> _Claimed:
    """Make a folder and lock it; a sweep may come between the two, so it is looked at again."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            descriptor = _open_folder(folder)
        except FileNotFoundError:
            continue
        acquire_flock(descriptor, fcntl.LOCK_EX)
        if is_at(descriptor, folder):
            return _Claimed(folder, descriptor)
        os.close(descriptor)


def _remove(claimed: _Claimed) -> None:
    shutil.rmtree(claimed.folder, ignore_errors=True)  # it may have got another name
    if claimed.folder.is_symlink():  # what worked in it put a link in its place
        claimed.folder.unlink(missing_ok=True)
    os.close(claimed.descriptor)


def _is_free(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    """Take a lock, and tell whether it could be had: another process may have it."""
    try:
        acquire_flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close_lock(path: Path, descriptor: int) -> None:
    """Give a lock back, and remove its file unless another process has it: this one may have waited in vain."""
    try:
        if _is_free(descriptor) and is_at(descriptor, path):
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _wait_in_silence() -> None:
    """Do nothing: that another process has the lock was said already."""


def _open_lock(path: Path) -> int:
    # Not through a link, and not blocked by a pipe.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _lock_error(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _lock_error(path)
    return descriptor


def _lock_error(path: Path) -> EngineError:
    return EngineError(f"a lock file belongs at '{path}', and something else is there", "remove it")


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def acquire_flock(descriptor: int, how: int) -> bool:
    """Lock a file, or return False where the file system has no locks."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file or folder is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except (FileNotFoundError, NotADirectoryError):
        return False
