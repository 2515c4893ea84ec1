"""Notes how files and folders were when a task first looked at them, and tells which ones changed since.

A key is made of what is there in the end. It is only true of what the task read if nothing changed in between.
"""

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from onnxpack.core.digests import digest
from onnxpack.core.scratch import is_working_name

ABSENT = "absent"
CHANGED = "changed"
"""Stands for the digest of a folder that changed while it was read: it is that of no folder, so no trace holds."""
State = tuple[int, ...]
List = Callable[[Path], list[str] | None]


def file_state(path: str) -> State | None:
    """Return what a file has in common with no other content of its; None if there is none.

    No program can set the time of change. Alone it says little, as the clock may be set back.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - a hook must be quick
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return (status.st_mode,)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Listings:
    """The names in folders, as they were when a task first listed them."""

    def __init__(self, list_folder: List) -> None:
        """``list_folder`` gives the names that count."""
        self._list = list_folder
        self._first: dict[str, list[str] | None] = {}
        self._changed: set[str] = set()

    def note(self, path: str, written: Iterable[str]) -> None:
        """Look at a folder that is listed now; what this process has ``written`` is no change."""
        if path in self._first:
            self._compare(path, written)
        else:
            self._first[path] = self._list(Path(path))

    def digests(self, written: Iterable[str]) -> dict[str, str]:
        """Return the digest of the names in each folder, or ``CHANGED``."""
        for path in sorted(self._first):
            self._compare(path, written)
        return {
            path: CHANGED if path in self._changed else _digest(names) for path, names in sorted(self._first.items())
        }

    def _compare(self, path: str, written: Iterable[str]) -> None:
        first, now = self._first[path], self._list(Path(path))
        own = {name for folder, _, name in (place.rpartition("/") for place in written) if folder == path}
        if (first is None) != (now is None) or set(first or ()) - own != set(now or ()) - own:
            self._changed.add(path)


def list_names(path: Path) -> list[str] | None:
    """Return the sorted names in a folder, without what builds work in at this moment; None if there is no folder."""
    try:
        return sorted(name for name in os.listdir(path) if not is_working_name(name))  # noqa: PTH208 - names count
    except (OSError, ValueError):
        return None


def list_importable(path: Path) -> list[str] | None:
    """Return the sorted names of the modules and packages in a folder; None if there is no folder."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if _is_importable(entry))
    except (OSError, ValueError):
        return None


def digest_listing(path: Path) -> str:
    """Return the SHA-256 of what ``list_names`` gives."""
    return _digest(list_names(path))


def digest_importable(path: Path) -> str:
    """Return the SHA-256 of what ``list_importable`` gives."""
    return _digest(list_importable(path))


def _digest(names: list[str] | None) -> str:
    return ABSENT if names is None else digest(names)


def _is_importable(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith((".py", ".so")) or Path(entry.path, "__init__.py").is_file()
