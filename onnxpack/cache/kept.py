"""What a store keeps besides images: entries, traces, notes, unfinished downloads, and outputs that were put aside."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxpack.cache.entry import MANIFEST
from onnxpack.cache.room import Item
from onnxpack.cache.store import LAST, Store
from onnxpack.core.errors import EngineError
from onnxpack.core.regular import read_regular
from onnxpack.core.scratch import is_working_name

_FOLDER = re.compile("[0-9a-f]{64}")
"""The names of folders that are kept as a whole: entries, and outputs that were put aside."""
_SIZES = "sizes.json"
"""The file that remembers the bytes of such folders, by their inode: they do not change, and may have 20,000 files."""
_SIZES_LIMIT = 64 * 2**20
_OTHERS = frozenset({"locks", _SIZES})


@dataclass(frozen=True)
class KeptEntries:
    """All of a store but the folders of other keepers."""

    store: Store
    others: frozenset[str] = frozenset()
    """The names of the folders that other keepers know the form of."""

    def list_items(self) -> list[Item]:
        """Return all that is kept here."""
        sizes = _Sizes(self.store.root / _SIZES)
        items: list[Item] = []
        with contextlib.suppress(FileNotFoundError):
            for top in sorted(os.listdir(self.store.root)):  # noqa: PTH208 - names are meant
                if top not in self.others | _OTHERS and not is_working_name(top):
                    items += _list_below(self.store.root, top, sizes)
        sizes.save(self.store)
        return items

    def remove(self, items: Sequence[Item]) -> list[Item]:
        """Remove items that nobody uses, and that were not used since they were listed; return those that are gone."""
        return [item for item in items if self._remove(item)]

    def remove_damaged(self) -> Iterator[tuple[Item, bool]]:
        """Read all entries, remove those that are damaged, and yield each with whether it was whole."""
        for item in self.list_items():
            path = self.store.root / item.name
            if _FOLDER.fullmatch(path.name) and item.kind != LAST and path.is_dir():
                yield item, not self.store.discard_damaged(path.parent.name, path.name)

    def _remove(self, item: Item) -> bool:
        path = self.store.root / item.name
        with contextlib.suppress(OSError, EngineError):
            return self.store.discard_unused(path, lambda: _find_use(path) == item.used)
        return not os.path.lexists(path)


def _list_below(root: Path, name: str, sizes: "_Sizes") -> Iterator[Item]:
    """Yield what is kept at a path, or below it."""
    path = root / name
    try:
        status = path.lstat()
        if not path.is_dir() or path.is_symlink():
            yield Item(_find_kind(name), name, status.st_size, status.st_mtime)
        elif _FOLDER.fullmatch(path.name):
            yield Item(_find_kind(name), name, sizes.measure(name, status), _find_use(path))
        else:
            for below in sorted(os.listdir(path)):  # noqa: PTH208 - names are meant
                yield from _list_below(root, f"{name}/{below}", sizes)
    except FileNotFoundError:
        return  # another process has removed it meanwhile


def _find_kind(name: str) -> str:
    return name.partition("/")[0]


def _find_use(path: Path) -> float:
    """Return when something was used last: an entry's manifest says it."""
    try:
        return (path / MANIFEST).lstat().st_mtime
    except OSError:
        return path.lstat().st_mtime


class _Sizes:
    """The bytes of folders, which are counted once for each."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._root = place.parent
        self._known = self._read()
        self._seen: dict[str, tuple[int, int]] = {}

    def measure(self, name: str, status: os.stat_result) -> int:
        """Return the bytes of the files in a folder of the store."""
        inode, size = self._known.get(name, (0, 0))
        if inode != status.st_ino:
            size = measure_folder(self._root / name)
        self._seen[name] = (status.st_ino, size)
        return size

    def save(self, store: Store) -> None:
        """Write down what was counted, if it is not there already; nothing depends on it."""
        if self._seen != self._known:
            with contextlib.suppress(OSError, EngineError):
                store.write(self._place, json.dumps(self._seen).encode())

    def _read(self) -> dict[str, tuple[int, int]]:
        try:
            found = json.loads(read_regular(self._place, _SIZES_LIMIT))
            return {str(name): (int(inode), int(size)) for name, (inode, size) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}


def measure_folder(folder: Path) -> int:
    """Return the bytes of all files below a folder; what goes meanwhile does not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(parent, name).lstat().st_size
    return total
