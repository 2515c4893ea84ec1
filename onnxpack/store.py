"""The content-addressed store: what a stage made, under the digest of all that it read.

An entry is a folder with a manifest of its files' digests. It appears whole by a rename, and is verified each time it
is taken, so a truncated or flipped entry is a miss. Two processes that make the same entry both succeed.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxpack.errors import EngineError

_MANIFEST = "manifest.json"


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
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_digests(folder: Path) -> dict[str, str]:
    """Relative path → SHA-256 of every file below a folder, a symlink as ``link:`` and its target."""
    found = {}
    for parent, folders, names in os.walk(folder):
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
        """The entry's folder if it is there and whole; an entry that is not is removed."""
        entry = self.root / stage / key
        if (self.fresh and entry not in self._made) or not entry.is_dir():
            return None
        if _contents(entry) is not None:
            return self.path(stage, key)
        self._discard(entry)
        return None

    def path(self, stage: str, key: str) -> Path:
        """Where the entry is that was just made."""
        return self.root / stage / key / "data"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the store's own file system, gone afterwards."""
        self.root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".scratch-", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def making(self, stage: str, key: str) -> Iterator[Path]:
        """Give an empty folder to fill; when the block ends well it becomes the entry, otherwise it goes.

        Raises:
            EngineError: nothing was put into the folder.
        """
        (self.root / stage).mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".making-", dir=self.root / stage))
        try:
            data = work / "data"
            data.mkdir()
            yield data
            made = tree_digests(data)
            if not made:  # an entry without files is always whole, and would be taken for ever
                raise EngineError(f"stage '{stage}' made no files", "report it: this is a bug in onnxpack")
            (work / _MANIFEST).write_text(json.dumps(made, sort_keys=True))
            entry = self.root / stage / key
            # One that holds the same stays: another process may be reading it.
            if self.fresh and entry.exists() and _contents(entry) != made:
                self._discard(entry)
            try:
                work.rename(entry)
            except OSError:
                # Another process was first. Same key, same result: theirs is as good.
                if not entry.is_dir():
                    raise
            self._made.add(entry)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _discard(self, entry: Path) -> None:
        grave = Path(tempfile.mkdtemp(prefix=".gone-", dir=entry.parent))
        try:
            entry.rename(grave / "entry")
        except FileNotFoundError:
            pass  # another process discarded it first
        finally:
            shutil.rmtree(grave, ignore_errors=True)


def _contents(entry: Path) -> dict[str, str] | None:
    """The digests of an entry's files, or None if it is not whole."""
    try:
        manifest: dict[str, str] = json.loads((entry / _MANIFEST).read_text())
        return manifest if tree_digests(entry / "data") == manifest else None
    except (OSError, ValueError):
        return None
