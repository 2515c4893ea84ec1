"""A folder of images: an OCI image layout, whose blobs several images share.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
Other tools read it as well: ``skopeo inspect oci:FOLDER:NAME``.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from onnxpack.core.errors import EngineError, OnnxpackError
from onnxpack.core.holds import Holds
from onnxpack.core.regular import open_regular, read_regular
from onnxpack.core.scratch import locked, replace_file, working_folder
from onnxpack.oci.manifests import LIMIT, Descriptor, Index, Manifest, compute_digest, read_document, write_document

NAME = "org.opencontainers.image.ref.name"
"""The annotation of an entry of the index that has an image's name."""
MARK, INDEX_FILE, BLOBS = "oci-layout", "index.json", "blobs/sha256"
MARK_TEXT = b'{"imageLayoutVersion":"1.0.0"}'
_LOCK = ".lock"
_CHUNK = 2**20


class BlobSource(Protocol):
    """What has blobs: a layout, an archive, or a registry."""

    def has(self, digest: str) -> bool:
        """Return whether a blob is there."""

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            EngineError: it is not there.
        """


@dataclass(frozen=True)
class Layout:
    """An OCI image layout in a folder, which is made when something is put into it."""

    root: Path
    holds: Holds | None = field(default=None, compare=False, repr=False)
    """What keeps the blobs that this process uses from being removed by another one; None where nobody removes any."""
    _verified: set[str] = field(default_factory=set, compare=False, repr=False)
    """The digests of blobs that this process has read whole, and found as they should be."""

    def path(self, digest: str) -> Path:
        """Return where a blob is, or would be."""
        return self.root / BLOBS / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        """Return whether a blob is there with the bytes of its digest; one that was changed is removed."""
        if digest in self._verified:
            return True
        path = self.path(digest)
        if not self._take(path):
            return False
        try:
            with open_regular(path, follow=False) as stream:
                whole = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}" == digest
        except OSError:
            return False
        if whole:
            self._verified.add(digest)
        else:
            path.unlink(missing_ok=True)
        return whole

    def measure(self, digest: str) -> int | None:
        """Return the bytes of a blob; None if it is not there whole."""
        return self.path(digest).stat().st_size if self.has(digest) else None

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading; whoever reads it has asked ``has`` before.

        Raises:
            EngineError: it is not there.
        """
        try:
            return open_regular(self.path(digest), follow=False)
        except OSError as error:
            raise EngineError(f"the blob {digest} cannot be read: {error.strerror}", "run the build again") from None

    def read(self, digest: str) -> bytes:
        """Return a small blob: a manifest or a configuration.

        Raises:
            EngineError: it is not there, is damaged, or has more than 4 MiB.
        """
        try:
            self._take(self.path(digest))
            data = read_regular(self.path(digest), LIMIT)
        except OSError as error:
            raise EngineError(f"the blob {digest} cannot be read: {error.strerror}", "run the build again") from None
        if compute_digest(data) != digest:
            raise EngineError(f"the blob at '{self.path(digest)}' is damaged", "remove it, and it is made anew")
        return data

    @contextlib.contextmanager
    def writing(self) -> Iterator["BlobWriter"]:
        """Yield a writer; what it was given becomes a blob when ``commit`` is called, and goes away if it is not."""
        with working_folder(self.root) as work, (work / "blob").open("wb") as stream:
            yield BlobWriter(self, work / "blob", stream)

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Put a small blob into the layout."""
        with self.writing() as writer:
            writer.write(data)
            return writer.commit(media_type)

    def list_names(self) -> dict[str, Descriptor]:
        """Return the manifests that have names; of one that several images had the last one."""
        try:
            found = read_document(read_regular(self.root / INDEX_FILE, LIMIT))
        except (OSError, OnnxpackError):
            return {}  # nothing was named yet, or the file is damaged: what it named is built again
        entries = found.manifests if isinstance(found, Index) else ()
        return {entry.annotations[NAME]: entry for entry in entries if NAME in entry.annotations}

    def find(self, name: str) -> Descriptor | None:
        """Return the manifest of an image by its name."""
        return self.list_names().get(name)

    def name(self, name: str, manifest: Descriptor) -> None:
        """Give an image a name, which another one loses if it has it."""
        with self.changing() as names:
            names[name] = manifest

    def unname(self, name: str) -> None:
        """Take a name away; one that is not there is fine."""
        with self.changing() as names:
            names.pop(name, None)

    def read_manifest(self, entry: Descriptor) -> Manifest:
        """Return the manifest that an entry points to, or raise an EngineError."""
        document = read_document(self.read(entry.digest), entry.media_type)
        if not isinstance(document, Manifest):
            raise EngineError(f"{entry.digest} is an index of several images", "name one of them")
        return document

    def _take(self, path: Path) -> bool:
        """Take hold of a blob; return whether it is there, and not being removed."""
        return self.holds is None or self.holds.hold(path)

    def locked(self) -> contextlib.AbstractContextManager[bool]:
        """Let no other process change names, or remove blobs."""
        return locked(self.root / _LOCK)

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Descriptor]]:
        """Yield the names to change, alone; they are written whole afterwards."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self.locked():
            names = self.list_names()
            yield names
            entries = tuple(
                replace(entry, annotations={**entry.annotations, NAME: name}) for name, entry in sorted(names.items())
            )
            with working_folder(self.root) as work:
                (work / MARK).write_bytes(MARK_TEXT)
                (work / INDEX_FILE).write_bytes(write_document(Index(entries)))
                for file in (MARK, INDEX_FILE):
                    replace_file(work / file, self.root / file)


class BlobWriter:
    """A blob that is being written into a layout, and its digest so far."""

    def __init__(self, layout: Layout, path: Path, stream: BinaryIO) -> None:
        self._layout = layout
        self._path = path
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0
        """The bytes so far."""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes, and return how many."""
        self._hash.update(data)
        self.size += len(data)
        return self._stream.write(data)

    @property
    def digest(self) -> str:
        """Return the digest of the bytes so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def commit(self, media_type: str, expected: str | None = None) -> Descriptor:
        """Put the blob in its place and return what points to it; raise an EngineError if it is not ``expected``."""
        digest = self.digest
        if expected and digest != expected:
            raise EngineError(f"a blob has the digest {digest}, and {expected} was asked for", "try again")
        self._stream.flush()
        self._path.chmod(0o644)
        place = self._layout.path(digest)
        # What another process has put there, and holds, is not replaced: it would hold a file that is nowhere.
        with self._layout.locked():
            self._layout._verified.discard(digest)
            if not self._layout.has(digest):
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(self._path, place)  # noqa: PTH105 - a link or a pipe may stand there
                self._layout._take(place)
                self._layout._verified.add(digest)
        return Descriptor(media_type, digest, self.size)


def read_blob(source: BlobSource, blob: Descriptor) -> bytes:
    """Return a small blob of any source: a manifest, an index or a configuration.

    Raises:
        EngineError: it is not there, or has other bytes than its digest says.
    """
    with source.open(blob.digest) as stream:
        data = stream.read(LIMIT + 1)
    if compute_digest(data) != blob.digest:
        raise EngineError(f"the blob {blob.digest} is damaged", "make or fetch the image again")
    return data


def copy_stream(source: BinaryIO, target: "BlobWriter") -> None:
    """Copy a stream into a blob, a piece at a time."""
    while chunk := source.read(_CHUNK):
        target.write(chunk)


def read_layout_index(root: Path) -> Index:
    """Return the index of a layout that any tool made.

    Raises:
        EngineError: it is none.
    """
    try:
        json.loads(read_regular(root / MARK, LIMIT))
        document = read_document(read_regular(root / INDEX_FILE, LIMIT))
    except (OSError, ValueError, RecursionError):
        raise EngineError(
            f"'{root}' is not an OCI image layout", f"it has a file {MARK} and a file {INDEX_FILE}"
        ) from None
    if not isinstance(document, Index):
        raise EngineError(f"'{root / INDEX_FILE}' is not an index")
    return document
