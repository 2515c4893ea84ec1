"""The images of a layout as things to keep or to remove, the one that was used longest ago first.

A blob goes with the last image that has it. One that none has, such as a killed build leaves, is a thing of its own.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxpack.cache.room import Item
from onnxpack.core.errors import EngineError, OnnxpackError
from onnxpack.core.holds import unheld
from onnxpack.core.regular import read_regular
from onnxpack.oci.layers import MEMORY
from onnxpack.oci.layout import BLOBS, Layout
from onnxpack.oci.manifests import LIMIT, Manifest, read_document

_KIND = "images"
_PREFIX = "sha256:"


@dataclass(frozen=True)
class _Blob:
    """A file of a layout, with its size in bytes and the time of its last use."""

    digest: str
    size: int
    used: float


@dataclass(frozen=True)
class KeptImages:
    """The images of a layout that has a folder of the store."""

    layout: Layout

    def list_items(self) -> list[Item]:
        """Return the images, the blobs that none of them has, and the notes about layers."""
        blobs = {blob.digest: blob for blob in self._list_blobs()}
        images = [blobs[digest] for digest in self._list_images() & blobs.keys()]
        items, free = [], dict(blobs)
        for image in sorted(images, key=lambda blob: (blob.used, blob.digest), reverse=True):
            own = {image.digest, *self._list_parts(image.digest)} & free.keys()
            size = sum(free.pop(digest).size for digest in own)
            items.append(Item(_KIND, image.digest, size, image.used))
        items += [Item(_KIND, blob.digest, blob.size, blob.used) for blob in free.values()]
        return items + list(self._list_notes())

    def remove(self, items: Sequence[Item]) -> list[Item]:
        """Remove what nobody uses, and what was not used since it was listed; return what is gone."""
        if not items:
            return []
        with contextlib.suppress(OSError, EngineError):
            self._remove(items)
        return [item for item in items if not self._place(item.name).exists()]

    def remove_damaged(self) -> Iterator[tuple[Item, bool]]:
        """Read all blobs, remove those that have another digest, and yield each with whether it was whole."""
        for blob in self._list_blobs():
            item = Item(_KIND, blob.digest, blob.size, blob.used)
            yield item, self.layout.has(blob.digest)

    def _remove(self, items: Sequence[Item]) -> None:
        """Take the images' names away, then remove the blobs that no other image has.

        A build that has put the same blob to use meanwhile holds it, or has named its image by now.
        """
        known = {item.name: item for item in items}
        for item in items:
            if not item.name.startswith(_PREFIX):
                self._place(item.name).unlink(missing_ok=True)
        images = self._list_images()
        unused = {name for name in known.keys() & images if self._is_unused(known[name])}
        parts = {part for name in unused for part in self._list_parts(name)}
        if unused:
            with self.layout.changing() as names:
                for name in [name for name, entry in names.items() if entry.digest in unused]:
                    del names[name]
        blobs = unused | parts | {name for name in known.keys() - images if name.startswith(_PREFIX)}
        with self.layout.locked():
            named = self._list_images()
            needed = named | {part for name in named for part in self._list_parts(name)}
            for digest in sorted(blobs - needed, key=lambda digest: digest not in unused):  # an image before its parts
                with unheld(self.layout.path(digest)) as free:
                    if free:
                        self.layout.path(digest).unlink(missing_ok=True)

    def _is_unused(self, item: Item) -> bool:
        path = self.layout.path(item.name)
        with unheld(path) as free:
            return free and path.stat().st_mtime == item.used

    def _list_images(self) -> set[str]:
        return {entry.digest for entry in self.layout.list_names().values()}

    def _list_parts(self, digest: str) -> set[str]:
        """Return the digests of an image's configuration and layers; without a look at whether they are there."""
        try:
            document = read_document(read_regular(self.layout.path(digest), LIMIT))
        except (OSError, OnnxpackError):
            return set()
        if not isinstance(document, Manifest):
            return set()
        return {document.config.digest, *(layer.digest for layer in document.layers)}

    def _list_blobs(self) -> Iterator[_Blob]:
        for path in _list_files(self.layout.root / BLOBS):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                yield _Blob(f"{_PREFIX}{path.name}", status.st_size, status.st_mtime)

    def _list_notes(self) -> Iterator[Item]:
        for path in _list_files(self.layout.root / MEMORY):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                yield Item(_KIND, f"{MEMORY}/{path.name}", status.st_size, status.st_mtime)

    def _place(self, name: str) -> Path:
        return self.layout.path(name) if name.startswith(_PREFIX) else self.layout.root / name


def _list_files(folder: Path) -> Iterable[Path]:
    with contextlib.suppress(FileNotFoundError):
        return [path for path in folder.iterdir() if not path.is_dir()]
    return ()
