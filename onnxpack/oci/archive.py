"""Archives of images: one tar that is an OCI layout and what `docker load` takes at once, and what `docker save` gives.

`docker load` reads ``manifest.json``, which names files of the same tar: here the blobs of the layout. Engines before
Docker 25 refuse an archive without it, and write layers as uncompressed tars in folders of their own.
"""

import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from onnxpack.core.errors import EngineError, SpecError, flatten_words
from onnxpack.core.regular import open_regular
from onnxpack.oci.layout import BLOBS, INDEX_FILE, MARK, MARK_TEXT, NAME, BlobSource
from onnxpack.oci.manifests import (
    EPOCH,
    LIMIT,
    Descriptor,
    Index,
    Manifest,
    write_document,
)

DOCKER_FILE = "manifest.json"
_BLOB = re.compile(re.escape(BLOBS) + "/[0-9a-f]{64}")
_MOST_ENTRIES = 100_000
_BUFFER = 1 << 16


def write_archive(source: BlobSource, entry: Descriptor, manifest: Manifest, names: Sequence[str], path: Path) -> None:
    """Write an image with its names into a tar; the same image and names give the same bytes."""
    entries = tuple(replace(entry, annotations={NAME: name}) for name in names) or (entry,)
    docker = [
        {
            "Config": place_blob(manifest.config.digest),
            "RepoTags": list(names),
            "Layers": [place_blob(layer.digest) for layer in manifest.layers],
        }
    ]
    blobs = {blob.digest: blob for blob in (entry, manifest.config, *manifest.layers)}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        # What tells a reader what is in it comes first.
        add_stream(archive, MARK, len(MARK_TEXT), io.BytesIO(MARK_TEXT))
        for name, text in (
            (INDEX_FILE, write_document(Index(entries))),
            (DOCKER_FILE, json.dumps(docker, separators=(",", ":")).encode()),
        ):
            add_stream(archive, name, len(text), io.BytesIO(text))
        for blob in blobs.values():
            with source.open(blob.digest) as stream:
                add_stream(archive, place_blob(blob.digest), blob.size, stream)


def place_blob(digest: str) -> str:
    """Return the name of a blob's file in a layout."""
    return f"{BLOBS}/{digest.removeprefix('sha256:')}"


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, at most ``size`` of them; none at the end."""


def add_stream(archive: tarfile.TarFile, name: str, size: int, stream: Readable) -> None:
    """Add a file to a tar, with all that could differ between machines fixed."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, EPOCH, 0o644
    archive.addfile(entry, stream)


@dataclass(frozen=True)
class Archive:
    """An archive that is open for reading."""

    path: Path
    _tar: tarfile.TarFile
    _members: dict[str, tarfile.TarInfo]
    _descriptor: int

    def has(self, digest: str) -> bool:
        """Return whether a blob is in it; its bytes are checked where they are copied."""
        return place_blob(digest) in self._members

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading; several threads may read one archive.

        Raises:
            EngineError: it is not there.
        """
        member = self._members.get(place_blob(digest))
        if member is None or not member.isreg():
            return self.open_file(place_blob(digest))
        return cast(BinaryIO, io.BufferedReader(_Slice(self._descriptor, member), _BUFFER))

    def open_file(self, name: str) -> BinaryIO:
        """Open a file of the archive.

        Raises:
            EngineError: it is not there.
        """
        member = self._members.get(name)
        # Of two images' equal layers `docker save` writes one, and a link.
        stream = self._tar.extractfile(member) if member and (member.isreg() or member.issym()) else None
        if stream is None:
            raise EngineError(f"'{self.path}' lacks the file {name[:200]}", "make the archive again")
        return cast(BinaryIO, stream)

    def read_file(self, name: str) -> bytes:
        """Return a small file of the archive.

        Raises:
            EngineError: it is not there, or has more than 4 MiB.
        """
        with self.open_file(name) as stream:
            data = stream.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise EngineError(f"'{self.path}': the file {name} has more than {LIMIT} bytes", "make the archive again")
        return data

    def find_foreign(self, names: re.Pattern[str]) -> str | None:
        """Return the name of a member that is no regular file, or whose whole name is not of these; folders may be."""
        for name, member in self._members.items():
            if not member.isdir() and not (member.isreg() and names.fullmatch(name)):
                return name
        return None

    def measure(self, digest: str) -> int | None:
        """Return the bytes of a blob; None if it is not there whole, as behind the end of an archive that was cut."""
        member = self._members.get(place_blob(digest))
        end = os.fstat(self._descriptor).st_size
        return member.size if member and member.offset_data + member.size <= end else None

    @property
    def is_layout(self) -> bool:
        """Return whether it is an OCI layout; else it is what an older `docker save` gives."""
        return MARK in self._members


class _Slice(io.RawIOBase):
    """A file of an archive with a position of its own: those of ``tarfile`` move that of the archive."""

    def __init__(self, descriptor: int, member: tarfile.TarInfo) -> None:
        self._descriptor = descriptor
        self._begin, self._size = member.offset_data, member.size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        data = os.pread(self._descriptor, count, self._begin + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextmanager
def open_archive(path: Path, *, cut: bool = False) -> Iterator[Archive]:
    """Open an archive of images; with ``cut``, also one whose end is missing, as far as it goes.

    Raises:
        SpecError: it is none.
        OSError: it cannot be read.
    """
    hint = "name a file that `docker save`, `skopeo copy … oci-archive:` or a build with `--engine oci` wrote"
    with open_regular(path) as stream:
        try:
            archive = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115 - closed below
        except tarfile.TarError:
            raise SpecError(f"'{path}' is not an uncompressed tar", hint) from None
        with archive:
            try:
                members = {}
                for count, member in enumerate(archive):
                    if count > _MOST_ENTRIES:
                        raise SpecError(f"'{path}' has more than {_MOST_ENTRIES} files", hint)
                    members[member.name.removeprefix("./")] = member
            except tarfile.TarError as error:
                if not cut:
                    raise SpecError(f"'{path}' is damaged: {flatten_words(error, 200)}", "make it again") from None
            if MARK not in members and DOCKER_FILE not in members:
                raise SpecError(f"'{path}' holds no image", hint)
            yield Archive(path, archive, members, stream.fileno())
