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
from pathlib import Path

from onnxpack.core.errors import NO_ROOM, EngineError

_PREFIX = ".onnxpack-"
_NAME = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")
"""The names that ``mkdtemp`` makes with this prefix: nobody else's folder is taken for one of these."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF)
"""How a file system says that it has no locks: NFS refuses those of folders with EBADF."""


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
    folder, descriptor = _claim(parent)
    try:
        yield folder
    except OSError as error:
        if error.errno in NO_ROOM and error.filename is None:  # of a write: only an open names its file
            error.filename = str(parent)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # it may have got another name
        if folder.is_symlink():  # what worked in it put a link in its place
            folder.unlink(missing_ok=True)
        os.close(descriptor)


def make_temporary_folder() -> contextlib.AbstractContextManager[Path]:
    """Make a ``working_folder`` in the machine's folder for temporary files."""
    return working_folder(Path(tempfile.gettempdir()))


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


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file ``path`` and remove it afterwards; call ``waiting`` once if another process has it.

    Raises:
        EngineError: something else is in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(path, waiting)
    assert descriptor is not None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` if no other process has it; yield whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(path, None)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _claim(parent: Path) -> tuple[Path, int]:
    """Make a folder and lock it, again if another process's sweep removed it between the two."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            descriptor = _open_folder(folder)
        except FileNotFoundError:
            continue
        _acquire_flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, folder):
            return folder, descriptor
        os.close(descriptor)


def _lock(path: Path, waiting: Callable[[], None] | None) -> int | None:
    """Return the descriptor that holds a lock file; None if it is taken and ``waiting`` is None."""
    while True:
        descriptor = _open_lock(path)
        try:
            _acquire_flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                os.close(descriptor)
                return None
            waiting()
            waiting = _wait_in_silence
            try:
                _acquire_flock(descriptor, fcntl.LOCK_EX)
            except BaseException:  # ctrl-C
                os.close(descriptor)
                raise
        if _is_at(descriptor, path):  # whoever had it has removed the file
            return descriptor
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


def _acquire_flock(descriptor: int, how: int) -> None:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
