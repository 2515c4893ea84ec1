"""What a ``sitecustomize`` imports to see a file system that can do less: FILE_SYSTEM_LACKS says what, by commas."""

import ctypes
import errno
import fcntl
import os
from pathlib import Path
from typing import Any, NoReturn

LACKS = "FILE_SYSTEM_LACKS"


def lack(words: str) -> None:
    """Let this process find none of the named abilities; ``locks:ENOLCK`` also says by which error."""
    for word in words.split(","):
        name, _, number = word.partition(":")
        LACKING[name](getattr(errno, number or "EPERM"))


def _refuse(number: int) -> Any:
    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


def _lack_locks(number: int) -> None:
    fcntl.flock = _refuse(number)


def _lack_links(number: int) -> None:
    os.link = _refuse(number)


def _lack_exchange(number: int) -> None:
    class Library(ctypes.CDLL):
        def __getattr__(self, name: str) -> Any:
            if name == "renameat2":
                return lambda *arguments: -1
            return super().__getattr__(name)

    ctypes.CDLL = Library  # type: ignore[misc]


def _lack_symbol(number: int) -> None:
    class Library(ctypes.CDLL):
        def __getattr__(self, name: str) -> Any:
            if name == "renameat2":
                raise AttributeError(name)
            return super().__getattr__(name)

    ctypes.CDLL = Library  # type: ignore[misc]


def _lack_rename_over(number: int) -> None:
    rename = os.rename

    def only_to_nothing(source: Any, target: Any, **options: Any) -> None:
        if os.path.lexists(target) and not Path(target).is_dir():
            raise OSError(number, os.strerror(number), os.fspath(source), None, os.fspath(target))
        rename(source, target, **options)

    os.rename = os.replace = only_to_nothing


LACKING = {
    "locks": _lack_locks,
    "links": _lack_links,
    "exchange": _lack_exchange,
    "exchange in libc": _lack_symbol,
    "rename over": _lack_rename_over,
}

if LACKS in os.environ:
    lack(os.environ[LACKS])
