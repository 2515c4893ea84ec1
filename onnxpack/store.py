"""The content-addressed store: what a stage made, under the digest of all that it read.

An entry is a folder with a manifest, which names the entry's own place and its files' digests. It appears whole by a
rename, and is verified each time it is taken, so an entry that is truncated, flipped or moved is a miss. Two processes
that make the same entry both succeed.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxpack.errors import EngineError
from onnxpack.regular import open_regular, read_regular
from onnxpack.scratch import locked, locked_if_free, replace_file, working_folder

_MANIFEST = "manifest.json"
_MANIFEST_LIMIT = 256 * 2**20  # bytes; an environment with TensorFlow has 5 MB of them
_EMPTY = "folder"
"""Stands for the digest of a folder without anything in it."""
_PARTIAL = "partial"
_PARTIAL_SECONDS = 7 * 24 * 3600
"""How long a download that was cut short is kept to be gone on with."""


def default_root() -> Path:
    """Return ``$ONNXPACK_CACHE``, else ``onnxpack`` below the user's cache folder; a relative one is below this folder.

    It is absolute, because tools that are given it, as uv, run in other folders.
    """
    override = os.environ.get("ONNXPACK_CACHE")
    place = Path(override) if override else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "onnxpack")
    return place.absolute()


def digest(*parts: Any) -> str:
    """The SHA-256 of JSON values in their canonical form: sorted keys, no spaces."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_digests(folder: Path) -> dict[str, str]:
    """Return relative path → SHA-256 of every file below a folder; of a link ``link:`` and its target.

    A folder without anything in it counts too, since it would be copied into an image.

    Raises:
        OSError: one cannot be read, or is a pipe, a socket or a device.
    """
    found = {}
    for parent, folders, names in os.walk(folder):
        if not folders and not names and Path(parent) != folder:
            found[Path(parent).relative_to(folder).as_posix()] = _EMPTY
        for name in (*names, *(name for name in folders if Path(parent, name).is_symlink())):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            found[relative] = f"link:{path.readlink()}" if path.is_symlink() else file_digest(path)
    return found


@dataclass(frozen=True)
class Store:
    """A folder of entries, ``<stage>/<key>/``."""

    root: Path
    fresh: bool = False
    """Take nothing that an earlier build made, as ``--no-cache`` asks."""
    _made: set[Path] = field(default_factory=set, compare=False, repr=False)
    """The entries that this process made, which are taken all the same."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.root.absolute())

    def get(self, stage: str, key: str) -> Path | None:
        """Return the entry's folder if it is there and whole; an entry that is not is removed."""
        entry = self.root / stage / key
        if self.fresh and entry not in self._made:
            return None
        whole = _contents(entry) is not None
        if not whole and os.path.lexists(entry):
            with self._placing(stage, key):
                whole = _contents(entry) is not None
                if not whole:
                    self._discard(entry)
        return self.path(stage, key) if whole else None

    def path(self, stage: str, key: str) -> Path:
        """Where the entry is that was just made."""
        return self.root / stage / key / "data"

    def scratch(self) -> AbstractContextManager[Path]:
        """Give an empty folder on the store's own file system, gone afterwards; what killed builds left goes first."""
        self._sweep_partials()
        return working_folder(self.root)

    def alone(self, stage: str, key: str, waiting: Callable[[], None] = lambda: None) -> AbstractContextManager[bool]:
        """Let one process at a time make an entry; ``waiting`` is called if that is another one now.

        It gives whether that is so: False on a file system without locks.

        Raises:
            EngineError: the lock cannot be had.
        """
        return locked(self._lock(stage, key), waiting)

    def partial(self, key: str) -> Path:
        """Return where a download is kept that is not whole yet; its lock is that of the stage ``download``."""
        place = self._folder(_PARTIAL) / key
        if os.path.lexists(place) and (place.is_symlink() or not place.is_file()):
            self._discard(place)
        return place

    @contextmanager
    def making(self, stage: str, key: str) -> Iterator[Path]:
        """Give an empty folder to fill; when the block ends well it becomes the entry, otherwise it goes.

        Raises:
            EngineError: nothing was put into the folder.
            OSError: there is no room, or what was put there is no regular file.
        """
        entry = self._folder(stage) / key
        with self.scratch() as work:
            data = work / "data"
            data.mkdir()
            yield data
            made = tree_digests(data)
            if set(made.values()) <= {_EMPTY}:  # an entry without files is always whole, and would be taken for ever
                raise EngineError(f"stage '{stage}' made no files", "report it: this is a bug in onnxpack")
            manifest = {"entry": f"{stage}/{key}", "files": made}
            (work / _MANIFEST).write_text(json.dumps(manifest, sort_keys=True))
            with self._placing(stage, key):
                known = _contents(entry)
                # One that holds the same stays: another process may be reading it.
                if known is None or (self.fresh and known != made):
                    self._discard(entry)
                    _put(work, entry)
            self._made.add(entry)

    def write(self, place: Path, data: bytes) -> None:
        """Put a file of one's own format into the store, whole, whatever stands in its place."""
        self._folder(place.parent.relative_to(self.root))
        with self.scratch() as work:
            (work / "file").write_bytes(data)
            if place.is_dir() and not place.is_symlink():
                self._discard(place)
            replace_file(work / "file", place)

    def _placing(self, stage: str, key: str) -> AbstractContextManager[bool]:
        """Let one process at a time judge and replace an entry: it could discard what another just put there.

        It is apart from ``alone``, which a process may hold already, and is held while files are read, never while
        they are made.
        """
        return locked(self._lock("place", f"{stage}-{key}"))

    def _lock(self, stage: str, key: str) -> Path:
        return self._folder("locks") / f"{stage}-{key}"

    def _folder(self, name: str | Path) -> Path:
        """Return a folder of the store, which is made if it is missing; what else stands in its way goes."""
        folder = self.root / name
        for path in reversed((folder, *folder.parents)):
            if path != self.root and path.is_relative_to(self.root) and os.path.lexists(path) and not path.is_dir():
                path.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _sweep_partials(self) -> None:
        """Remove downloads that nobody has gone on with for a week, or whose time a wrong clock put far ahead."""
        folder = self.root / _PARTIAL
        # What a link leads to is not the store's.
        for path in folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ():
            if path.is_file() and abs(time.time() - path.stat().st_mtime) > _PARTIAL_SECONDS:
                with locked_if_free(self._lock("download", path.name)) as free:
                    if free:
                        path.unlink(missing_ok=True)

    def _discard(self, entry: Path) -> None:
        with working_folder(self.root) as grave, suppress(FileNotFoundError):  # another process discarded it first
            entry.rename(grave / "entry")


def _put(work: Path, entry: Path) -> None:
    try:
        work.rename(entry)
    except OSError:
        # On a file system without locks another process may be first. Same key, same result: theirs is as good.
        if not entry.is_dir():
            raise


def _contents(entry: Path) -> dict[str, str] | None:
    """Return the digests of an entry's files, or None if it is not whole, or is that of another place."""
    data = entry / "data"
    if any(path.is_symlink() or not path.is_dir() for path in (entry, data)):
        return None
    try:
        files = tree_digests(data)
        manifest = json.loads(read_regular(entry / _MANIFEST, _MANIFEST_LIMIT))
        return files if manifest == {"entry": f"{entry.parent.name}/{entry.name}", "files": files} else None
    except (OSError, ValueError, RecursionError):
        return None
