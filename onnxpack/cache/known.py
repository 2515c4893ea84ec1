"""Files that a build read or left, by how they were then: a look at each says whether one is the same.

A file counts as the same while its device, inode, size and both times are. Where they are not, or where they could be
those of a later change in the same tick of the file system's clock, its content decides.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from onnxpack.cache.changes import State, file_state
from onnxpack.cache.remembered import is_settled
from onnxpack.cache.trace import digest_content
from onnxpack.core.scratch import working_folder
from onnxpack.core.text import clean

_TICKS_SECONDS = 0.1
"""How long to wait for the next tick of a file system's clock: those of Linux are 1 to 10 ms long."""


@dataclass(frozen=True)
class KnownFile:
    """A file that a build read."""

    path: str
    """The absolute path that it was looked for at."""
    digest: str
    """The SHA-256 of its bytes, or what ``digest_content`` gives of what is no file; empty where its state decides."""
    state: State | None = None
    """What ``file_state`` gave; None where it had changed a moment ago, so that its content must be read each time."""
    real: str | None = None
    """Where its links led, where that counts too."""

    def is_same(self) -> bool:
        """Return whether the same is there now."""
        if self.real is not None and os.path.realpath(self.path) != self.real:
            return False
        if self.state is not None and file_state(self.path) == self.state:
            return True
        return bool(self.digest) and digest_content(Path(self.path)) == self.digest

    def is_stated(self) -> bool:
        """Return whether a look at its state alone says that it is the same."""
        return self.state is not None and file_state(self.path) == self.state

    def renew(self) -> "KnownFile | None":
        """Return the same file with its state of now; None if it is another one by now."""
        if self.is_stated():
            return self
        return know_file(Path(self.path), self.digest, with_links=self.real is not None)


def know_file(path: Path, expected: str, *, with_links: bool = False) -> KnownFile | None:
    """Note how a file is; return None if its digest is not the ``expected`` one any more.

    ``with_links`` also notes where the links on its path lead.
    """
    place = os.fspath(path)
    before = file_state(place)
    if digest_content(path) != expected or file_state(place) != before:
        return None
    real = os.path.realpath(place) if with_links else None
    return KnownFile(place, expected, before if _is_lasting(path) else None, real)


def know_state(path: Path, expected: State) -> KnownFile | None:
    """Note a file by its state, for one that takes long to read; return None if that is not the ``expected`` one."""
    place = os.fspath(path)
    if file_state(place) != expected:
        return None
    if _is_lasting(path):
        return KnownFile(place, "", expected)
    found = know_file(path, digest_content(path))
    return found if file_state(place) == expected else None


def _is_lasting(path: Path) -> bool:
    """Return whether any later change of a file will show in its state."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and is_settled(status)


@dataclass(frozen=True)
class Entry:
    """A file or folder of a build's output, as it was left: its mode, size, inode and times."""

    path: str
    facts: tuple[int, ...]
    target: str = ""
    """Where it leads, if it is a link."""


def list_entries(folder: Path) -> list[Entry]:
    """List all that is below a folder, in the order of the paths; of folders their names and modes count alone.

    Raises:
        OSError: one cannot be read.
    """
    return sorted(_walk(os.fspath(folder), ""), key=lambda entry: entry.path)


def digest_entries(entries: list[Entry]) -> str:
    """Return the SHA-256 of a list of entries."""
    return hashlib.sha256(msgspec.msgpack.encode(entries)).hexdigest()


def find_difference(before: list[Entry], now: list[Entry]) -> str | None:
    """Return in words what differs first between two lists of one folder's entries; None if nothing does."""
    old, new = ({entry.path: entry for entry in entries} for entries in (before, now))
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            what = "was added" if path not in old else "is missing" if path not in new else "changed"
            return f"{clean(path)} {what}"
    return None


def is_behind_clock(folder: Path, times: list[int]) -> bool:
    """Wait until the clock of a folder's file system is past all ``times``, in nanoseconds; return whether it is.

    From then on any change gets a later time than those. A file system with long ticks, such as FAT, is not waited for.
    """
    latest, end = max(times, default=0), time.monotonic() + _TICKS_SECONDS
    with working_folder(folder) as work:
        while True:
            probe = work / "clock"
            probe.touch()
            if probe.stat().st_ctime_ns > latest:
                return True
            if time.monotonic() > end:
                return False
            probe.unlink()
            time.sleep(0.001)


def _walk(folder: str, below: str) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        for entry in found:
            path, status = f"{below}{entry.name}", entry.stat(follow_symlinks=False)
            mode = status.st_mode
            if stat.S_ISDIR(mode):
                yield Entry(path, (mode,))
                yield from _walk(entry.path, f"{path}/")
            else:
                facts = (mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                yield Entry(path, facts, os.readlink(entry.path) if stat.S_ISLNK(mode) else "")  # noqa: PTH115
