"""Open what holds an image as it is, to be pushed: an archive, or a layout that any tool made."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.errors import SpecError
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.oci import GZIP
from onnxpack.oci.archive import open_archive
from onnxpack.oci.copies import Folder, import_saved, read_archive_index
from onnxpack.oci.layout import NAME, BlobSource, Layout, read_layout_index
from onnxpack.oci.manifests import Descriptor, Index


@dataclass(frozen=True)
class Source:
    """An image, or one for several platforms, and the names that it has there."""

    blobs: BlobSource
    entry: Descriptor
    names: tuple[str, ...] = ()


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open the one image of an archive, or of a folder that is a layout; its digest stays what it is.

    What an older `docker save` wrote has no manifest, and gets one.

    Raises:
        SpecError: it holds no image, or several.
        EngineError: a part is damaged or missing.
        OSError: it cannot be read.
    """
    if path.is_dir():
        yield _choose(Folder(path), read_layout_index(path), path)
        return
    with open_archive(path) as archive:
        if archive.is_layout:
            yield _choose(archive, read_archive_index(archive), path)
            return
    with make_temporary_folder() as folder:
        layout = Layout(folder)
        yield Source(layout, import_saved(layout, path, GZIP))


def _choose(blobs: BlobSource, index: Index, path: Path) -> Source:
    names = tuple(entry.annotations[NAME] for entry in index.manifests if NAME in entry.annotations)
    found = {entry.digest: entry for entry in index.manifests}
    if len(found) != 1:
        what = f"holds several images: {', '.join(names or found)[:500]}" if found else "holds no image"
        raise SpecError(f"'{path}' {what}", "name one with a single image, or with one index of them")
    return Source(blobs, next(iter(found.values())), names)
