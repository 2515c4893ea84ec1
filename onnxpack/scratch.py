"""Folders that a process works in, and locks that several processes share.

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
from pathlib import Path

from onnxpack.errors import EngineError, naming

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
    """Give a new empty folder in ``parent``, which is made if it is missing, and remove it in the end.

    What killed processes left in ``parent`` is removed first.

    Raises:
        OSError: the folder cannot be made. One of the block that there is no room names ``parent`` if it names no file.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder, descriptor = _claim(parent)
    try:
        with naming(parent, only_unnamed=True):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # it may have got another name
        os.close(descriptor)


def temporary_folder() -> contextlib.AbstractContextManager[Path]:
    """Give a ``working_folder`` in the machine's folder for temporary files."""
    return working_folder(Path(tempfile.gettempdir()))


def sweep(parent: Path) -> None:
    """Remove the working folders in ``parent`` that no process holds; where locks do not work, all stay."""
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
        return _flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock file ``path``, which goes afterwards; ``waiting`` is called once if another process has it.

    Give whether nobody else can hold it: False on a file system without locks.

    Raises:
        EngineError: something else is in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(path, waiting)
    assert descriptor is not None
    try:
        yield _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


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


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` if no other process has it; give whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(path, None)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _claim(parent: Path) -> tuple[Path, int]:
    """Make a folder and lock it; a sweep may come between the two, so it is looked at again."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            descriptor = _open_folder(folder)
        except FileNotFoundError:
            continue
        _flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, folder):
            return folder, descriptor
        os.close(descriptor)


def _lock(path: Path, waiting: Callable[[], None] | None) -> int | None:
    """Return the descriptor that holds a lock file; None if it is taken and nobody wants to wait."""
    while True:
        descriptor = _open_lock(path)
        try:
            _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                os.close(descriptor)
                return None
            waiting()
            waiting = _wait_in_silence
            try:
                _flock(descriptor, fcntl.LOCK_EX)
            except BaseException:  # ctrl-C
                os.close(descriptor)
                raise
        if _is_at(descriptor, path):  # whoever had it has removed the file
            return descriptor
        os.close(descriptor)


def _wait_in_silence() -> None:
    """Take the place of what was told already."""


def _open_lock(path: Path) -> int:
    # Not through a link, and not blocked by a pipe.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_lock(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_lock(path)
    return descriptor


def _no_lock(path: Path) -> EngineError:
    return EngineError(f"'{path}' is in the place of a lock and is no file", "remove it")


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _flock(descriptor: int, how: int) -> bool:
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


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
