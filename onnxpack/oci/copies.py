"""Copy images into a layout: from archives, and from layouts that other tools made."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from onnxpack.core.errors import EngineError, SpecError, flatten_words
from onnxpack.core.regular import open_regular
from onnxpack.oci import GZIP
from onnxpack.oci.archive import DOCKER_FILE, Archive, open_archive
from onnxpack.oci.config import read_diff_ids, read_platform
from onnxpack.oci.layers import add_tar
from onnxpack.oci.layout import BLOBS, INDEX_FILE, NAME, BlobSource, Layout, copy_stream, read_blob, read_layout_index
from onnxpack.oci.manifests import (
    CONFIG,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    read_document,
    read_json,
    write_document,
)


@dataclass(frozen=True)
class Folder:
    """The blobs of a layout that another tool made; they are checked where they are copied."""

    root: Path

    def has(self, digest: str) -> bool:
        """Return whether a blob is there."""
        return (self.root / BLOBS / digest.removeprefix("sha256:")).is_file()

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            EngineError: it is not there.
        """
        try:
            return open_regular(self.root / BLOBS / digest.removeprefix("sha256:"))
        except OSError as error:
            raise EngineError(f"'{self.root}' lacks the blob {digest}: {error.strerror}", "make it again") from None


def import_image(layout: Layout, path: Path, platform: str, digest: str | None = None) -> Descriptor:
    """Copy the image of a platform from an archive, or a folder that is a layout, and return its manifest.

    ``digest`` tells which one where it holds several.

    Raises:
        SpecError: it holds no image, several, or one for another platform.
        EngineError: a part is damaged or missing.
        OSError: it cannot be read.
    """
    if path.is_dir():
        index = _select(read_layout_index(path), digest)
        entry = copy_image(layout, source := Folder(path), _choose(source, index, path, platform))
    else:
        with open_archive(path) as archive:
            if archive.is_layout:
                index = _select(read_archive_index(archive), digest)
                entry = copy_image(layout, archive, _choose(archive, index, path, platform))
            else:
                entry = _copy_saved(layout, archive, GZIP)
    found = read_platform(read_json(layout.read(layout.read_manifest(entry).config.digest)))
    if str(found) != platform:
        raise SpecError(f"'{path}' holds an image for {found}, and the target is for {platform}", "name another file")
    return entry


def import_saved(layout: Layout, path: Path, compression: str) -> Descriptor:
    """Copy an image from what `docker save` wrote; its layers are compressed, its configuration stays as it is.

    Raises:
        SpecError: it is no archive of one image.
        EngineError: a layer is damaged or missing.
    """
    with open_archive(path) as archive:
        return _copy_saved(layout, archive, compression)


def copy_image(layout: Layout, source: BlobSource, entry: Descriptor) -> Descriptor:
    """Copy an image of one platform into a layout, blob by blob, and return its manifest.

    Raises:
        EngineError: a blob is damaged or missing.
    """
    _copy_blob(layout, source, entry)
    manifest = layout.read_manifest(entry)
    for blob in (manifest.config, *manifest.layers):
        _copy_blob(layout, source, blob)
    return replace(entry, annotations={}, platform=None)


def _copy_blob(layout: Layout, source: BlobSource, blob: Descriptor) -> None:
    if layout.has(blob.digest):
        return
    with source.open(blob.digest) as stream, layout.writing() as writer:
        copy_stream(stream, writer)
        writer.commit(blob.media_type, blob.digest)


def read_archive_index(archive: Archive) -> Index:
    """Return the index of an archive that is a layout.

    Raises:
        EngineError: it is none.
    """
    document = read_document(archive.read_file(INDEX_FILE))
    if not isinstance(document, Index):
        raise EngineError(f"'{archive.path}': {INDEX_FILE} is not an index", "make the archive again")
    return document


def _select(index: Index, digest: str | None) -> Index:
    """Return an index with the entries of a digest alone, or as it is without one."""
    if digest is None:
        return index
    return replace(index, manifests=tuple(entry for entry in index.manifests if entry.digest == digest))


def _choose(source: BlobSource, index: Index, place: Path, platform: str) -> Descriptor:
    """Return the one image of an index for a platform; it may have several names, and lie in an index of its own."""
    found: dict[str, Descriptor] = {}
    for entry in index.manifests:
        if entry.platform is not None and str(entry.platform) != platform:
            continue
        document = read_document(read_blob(source, entry), entry.media_type)
        if isinstance(document, Manifest):
            if entry.platform or str(read_platform(read_json(read_blob(source, document.config)))) == platform:
                found[entry.digest] = entry
        else:
            found |= {one.digest: one for one in document.manifests if one.platform and str(one.platform) == platform}
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise SpecError(f"'{place}' holds no image for {platform}", "name another file")
    names = ", ".join(sorted(entry.annotations.get(NAME, entry.digest) for entry in found.values()))
    raise SpecError(f"'{place}' holds several images for {platform}: {names[:500]}", "make one with a single image")


def _copy_saved(layout: Layout, archive: Archive, compression: str) -> Descriptor:
    config_file, layer_files = _read_saved(archive)
    config = archive.read_file(config_file)
    diff_ids = read_diff_ids(config)
    if len(diff_ids) != len(layer_files):
        raise EngineError(f"'{archive.path}' does not hold the layers of its image", "save the image again")
    layers = []
    for place, diff_id in zip(layer_files, diff_ids, strict=True):
        with archive.open_file(place) as stream:
            layers.append(add_tar(layout, stream, diff_id, compression).blob)
    manifest = Manifest(layout.add(config, CONFIG), tuple(layers))
    return layout.add(write_document(manifest), MANIFEST)


def _read_saved(archive: Archive) -> tuple[str, list[str]]:
    """Return the names of the configuration and of the layers in what `docker save` wrote."""
    try:
        entries = json.loads(archive.read_file(DOCKER_FILE))
        if not isinstance(entries, list) or len(entries) != 1:
            raise ValueError("it does not hold one image alone")
        return str(entries[0]["Config"]), [str(place) for place in entries[0]["Layers"]]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        message = f"'{archive.path}': {DOCKER_FILE} cannot be used: {flatten_words(error, 200)}"
        raise SpecError(message, "save one image alone") from None
