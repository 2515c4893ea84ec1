"""The content-addressed store: the result of a stage under the digest of all that it read.

An entry is a folder with a manifest, which names the entry's own place and its files' digests. It appears whole by a
rename, and is verified each time it is taken, so an entry that is truncated, flipped or moved is a miss. Two processes
that make the same entry both succeed. One that a process has taken is held until that ends, so that whoever makes room
leaves it alone; the time of its manifest says when it was used last.

What a store lacks, a shared one may have: it is asked on a miss, and is given what was made.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxpack.cache.entry import DATA, MANIFEST, read_contents, unheld_entry
from onnxpack.cache.shared import Shared
from onnxpack.core.digests import EMPTY, digest_tree
from onnxpack.core.errors import EngineError, OnnxpackError
from onnxpack.core.holds import Holds
from onnxpack.core.interrupts import was_interrupted
from onnxpack.core.scratch import locked, locked_if_free, replace_file, sweep, working_folder

if TYPE_CHECKING:
    from onnxpack.cache.room import Keeper

_LOCKS, _PARTIAL = "locks", "partial"
LAST = "last"
"""The folder of outputs that were put aside for a failed attempt; they are no entries."""
_PARTIAL_SECONDS = 7 * 24 * 3600
"""How long a download that was cut short is kept to be gone on with."""


def find_default_root() -> Path:
    """Return the store's folder: ``$ONNXPACK_CACHE``, else ``onnxpack`` in the user's cache folder.

    It is made absolute, because tools that are given it, such as uv, run in other folders.
    """
    override = os.environ.get("ONNXPACK_CACHE")
    place = Path(override) if override else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "onnxpack")
    return place.absolute()


@dataclass(frozen=True)
class Bound:
    """How many bytes a store may keep, and who knows what it keeps."""

    size: int
    list_keepers: "Callable[[Store], Sequence[Keeper]]"


@dataclass(frozen=True)
class Store:
    """A folder of entries, each in ``<stage>/<key>/``."""

    root: Path
    fresh: bool = False
    """Whether entries of earlier builds are ignored, as ``--no-cache`` asks."""
    shared: Shared | None = field(default=None, compare=False)
    """The store that others share, if there is one."""
    bound: "Bound | None" = field(default=None, compare=False)
    """How much may stay in the end of a build; None for whatever is there."""
    _made: set[Path] = field(default_factory=set, compare=False, repr=False)
    """The entries that this process put here; they are used even by a ``fresh`` store."""
    _holds: Holds = field(default_factory=Holds, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.root.absolute())

    @property
    def locks(self) -> Path:
        """Return the folder of lock files; those that nobody holds are swept."""
        return self.root / _LOCKS

    def get(self, stage: str, key: str, *, here: bool = False) -> Path | None:
        """Return the folder of an entry; None if there is none, ``here`` or in the shared store.

        An entry that is damaged is removed.

        Raises:
            OSError: there is no room for the entry that the shared store has.
        """
        entry = self.root / stage / key
        if self.fresh and entry not in self._made:
            return None
        whole = self._take(entry)
        if not whole and os.path.lexists(entry):
            with self._lock_place(stage, key):
                whole = self._take(entry)
                if not whole:
                    self._discard(entry)
        return self.path(stage, key) if whole or (not here and self._fetch(stage, key)) else None

    def path(self, stage: str, key: str) -> Path:
        """Return the folder of an entry that was just made."""
        return self.root / stage / key / DATA

    def without_sharing(self) -> "Store":
        """Return this store for what is of no use elsewhere, or can be had where it comes from."""
        return replace(self, shared=None)

    def finish(self) -> None:
        """End a build: wait some seconds for what is being shared, and make room if more is kept than the bound allows.

        Nothing goes that a process uses, this one among them. An interrupted command makes no room.
        """
        if self.shared:
            self.shared.finish()
        if self.bound and self._made and not was_interrupted():
            from onnxpack.cache.room import keep_bound  # what has made nothing needs none of it

            with suppress(OSError, OnnxpackError):  # the next build does it
                keep_bound(self.root, self.bound.list_keepers(self), self.bound.size)

    def sweep(self) -> None:
        """Remove what killed builds left: folders to work in, locks, and downloads that nobody goes on with.

        Nothing depends on it, and a store that cannot be written can be read all the same.
        """
        with suppress(FileNotFoundError):
            sweep(self.root)
        for name in _names(self.locks):
            with suppress(OSError, EngineError), locked_if_free(self.locks / name):
                pass  # its file goes with that
        with suppress(OSError, EngineError):
            self._sweep_partials()

    def scratch(self) -> AbstractContextManager[Path]:
        """Make a temporary folder on the store's own file system."""
        return working_folder(self.root)

    def alone(self, stage: str, key: str, waiting: Callable[[], None] = lambda: None) -> AbstractContextManager[bool]:
        """Let one process at a time make an entry; call ``waiting`` if another one is making it now.

        It gives whether that is so: False on a file system without locks.

        Raises:
            EngineError: the lock cannot be had.
        """
        return locked(self._lock(stage, key), waiting)

    def partial(self, key: str) -> Path:
        """Return the path for an unfinished download; its lock is that of the stage ``download``."""
        place = self._folder(_PARTIAL) / key
        if os.path.lexists(place) and (place.is_symlink() or not place.is_file()):
            self._discard(place)
        return place

    @contextmanager
    def making(self, stage: str, key: str) -> Iterator[Path]:
        """Yield an empty folder to fill; it becomes the entry if the block succeeds, and is removed if not.

        Raises:
            EngineError: nothing was put into the folder.
            OSError: there is no room, or what was put there is no regular file.
        """
        entry = self._folder(stage) / key
        with self.scratch() as work:
            data = work / DATA
            data.mkdir()
            yield data
            made = digest_tree(data)
            if set(made.values()) <= {EMPTY}:  # an entry without files is always whole, and would be taken for ever
                raise EngineError(f"stage '{stage}' made no files", "report it: this is a bug in onnxpack")
            manifest = {"entry": f"{stage}/{key}", "files": made}
            (work / MANIFEST).write_text(json.dumps(manifest, sort_keys=True))
            self._place(work, entry, made)
        if self.shared:
            self.shared.give(f"{stage}/{key}", entry)

    def discard_damaged(self, stage: str, key: str) -> bool:
        """Remove an entry that is not as its manifest says; return whether it was."""
        entry = self.root / stage / key
        with self._lock_place(stage, key):
            whole = read_contents(entry) is not None
            if not whole:
                self._discard(entry)
        return not whole

    def discard_unused(self, path: Path, is_unused: Callable[[], bool]) -> bool:
        """Remove a file or folder of this store as a whole, unless a process uses it; return whether it is gone.

        ``is_unused`` is asked again when nobody can take hold of it any more.
        """
        lock = self._lock("download", path.name)
        if path.parent.name != _PARTIAL:
            lock = self._lock("place", f"{path.parent.name}-{path.name}")
        with locked_if_free(lock) as free, unheld_entry(path) as unheld:
            if not free or not unheld or not is_unused():
                return False
            self._discard(path)
        return True

    def write(self, place: Path, data: bytes) -> None:
        """Write a file into the store atomically, in the place of whatever is there."""
        self._folder(place.parent.relative_to(self.root))
        with self.scratch() as work:
            (work / "file").write_bytes(data)
            if place.is_dir() and not place.is_symlink():
                self._discard(place)
            replace_file(work / "file", place)

    def _take(self, entry: Path) -> bool:
        """Take hold of an entry and return whether it is whole."""
        return self._holds.hold(entry / MANIFEST) and read_contents(entry) is not None

    def _place(self, work: Path, entry: Path, made: dict[str, str]) -> None:
        """Let what is in the folder ``work`` become an entry, whose files have the digests ``made``."""
        with self._lock_place(entry.parent.name, entry.name):
            known = read_contents(entry)
            # One that holds the same stays: another process may be reading it.
            if known is None or (self.fresh and known != made):
                self._discard(entry)
                _put(work, entry)
            self._holds.hold(entry / MANIFEST)
        self._made.add(entry)

    def _fetch(self, stage: str, key: str) -> bool:
        """Bring an entry from the shared store; return whether it had it whole."""
        name = f"{stage}/{key}"
        if self.shared is None:
            return False
        with self.scratch() as work:
            if not self.shared.fetch(name, work):
                return False
            made = read_contents(work, name)
            if made is None:
                self.shared.refuse(name, "its files are not those that it names")
                return False
            self._place(work, self._folder(stage) / key, made)
        return True

    def _lock_place(self, stage: str, key: str) -> AbstractContextManager[bool]:
        """Let one process at a time check and replace an entry, so that none discards what another just put there.

        This is another lock than that of ``alone``, which a process may hold already. It is held while files are read,
        never while they are made.
        """
        return locked(self._lock("place", f"{stage}-{key}"))

    def _lock(self, stage: str, key: str) -> Path:
        return self._folder(_LOCKS) / f"{stage}-{key}"

    def _folder(self, name: str | Path) -> Path:
        """Return a folder of the store, which is made if it is missing; what else stands in its way goes."""
        folder = self.root / name
        for path in reversed((folder, *folder.parents)):
            if path != self.root and path.is_relative_to(self.root) and os.path.lexists(path) and not path.is_dir():
                path.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _sweep_partials(self) -> None:
        """Remove unfinished downloads of more than a week ago, or whose time a wrong clock put far ahead."""
        for name in _names(self.root / _PARTIAL):
            path = self.root / _PARTIAL / name
            if path.is_file() and abs(time.time() - path.stat().st_mtime) > _PARTIAL_SECONDS:
                with locked_if_free(self._lock("download", path.name)) as free:
                    if free:
                        path.unlink(missing_ok=True)

    def _discard(self, entry: Path) -> None:
        with working_folder(self.root) as grave, suppress(FileNotFoundError):  # another process discarded it first
            entry.rename(grave / "entry")


def _names(folder: Path) -> list[str]:
    """Return the names in a folder, which need not be there."""
    return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - names are meant


def _put(work: Path, entry: Path) -> None:
    try:
        work.rename(entry)
    except OSError:
        # On a file system without locks another process may be first. Same key, same result: theirs is as good.
        if not entry.is_dir():
            raise
