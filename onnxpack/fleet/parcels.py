"""Files that travel between machines: small ones within a message, and the content of large ones by its digest.

What has a digest goes through the shared store, once however many jobs have it. For that an image's archive is taken
apart at its blobs, and the packages that all images of a fleet have are one parcel.
"""

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError
from onnxpack.core.regular import open_regular
from onnxpack.core.text import format_bytes
from onnxpack.worker.codec import decode, encode

SMALL = 2**20
"""Bytes: content of this size travels within the message where there is a shared store."""
MOST_WITHIN = 256 * 2**20
"""Bytes that travel within one message where there is no shared store."""
_STAGE, _CONTENT = "parcels", "content"
_BLOCK = 2**20
_HINT = "set ONNXPACK_REMOTE_CACHE to one and the same store here and where the workers run"


@dataclass(frozen=True)
class Parcel:
    """A run of bytes: in this message, or in the shared store under its digest."""

    digest: str
    """The SHA-256 of the content."""
    size: int
    data: bytes | None = None
    """The content, if it is in this message."""


@dataclass(frozen=True)
class PackedFile:
    """A file, or a folder where there is no content: with its name in the tree, its mode and its time."""

    name: str
    mode: int
    modified: int
    """Nanoseconds since 1970."""
    parcels: tuple[Parcel, ...] | None = None


@dataclass(frozen=True)
class Packed:
    """The files of a tree, those in folders before what is in them."""

    files: tuple[PackedFile, ...]


class Parcels:
    """The parcels that one machine sends and receives."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._store = replace(store, fresh=False)  # content that is named by its digest is never an old result
        self._sent: set[str] = set()
        self._packed: dict[tuple[Path, ...], Parcel] = {}
        self._within = 0

    @property
    def _shares(self) -> bool:
        """Return whether content can be sent through a store that others share."""
        return self._store.shared is not None and self._store.shared.writes

    def pack(self, files: Iterable[tuple[str, Path]]) -> Parcel:
        """Pack files and folders under their names in the tree; files of the same names and content give one digest.

        Raises:
            EngineError: they are too large to travel without a shared store.
            OSError: one cannot be read.
        """
        packed = Packed(tuple(self._pack_file(name, path) for name, path in sorted(files)))
        return self._keep(encode(packed))

    def pack_once(self, paths: tuple[Path, ...]) -> Parcel | None:
        """Pack files and folders that all jobs of a command have, the first time; None if there are none."""
        if paths and paths not in self._packed:
            self._packed[paths] = self.pack(pair for path in paths for pair in _list_given(path))
        return self._packed.get(paths)

    def unpack(self, parcel: Parcel, folder: Path) -> None:
        """Write packed files below a folder, which has none of them.

        Raises:
            EngineError: content is missing or not what its digest says, or a name leads out of the folder.
            OSError: there is no room.
        """
        packed = _decode(b"".join(self._read(parcel)))
        for file in packed.files:
            _require_inside(file.name)
            path = folder / file.name
            if file.parcels is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as stream:
                for one in file.parcels:
                    stream.writelines(self._read(one))
        for file in reversed(packed.files):  # a folder's time changes with what is written into it
            (folder / file.name).chmod(file.mode & 0o777)
            os.utime(folder / file.name, ns=(file.modified, file.modified))

    def _pack_file(self, name: str, path: Path) -> PackedFile:
        facts = path.stat()
        parcels = None if stat.S_ISDIR(facts.st_mode) else tuple(self._cut(path, facts.st_size))
        return PackedFile(name, stat.S_IMODE(facts.st_mode), facts.st_mtime_ns, parcels)

    def _cut(self, path: Path, size: int) -> Iterator[Parcel]:
        """Yield a file's content, cut where an archive's large members begin and end."""
        with open_regular(path) as stream:
            if size <= SMALL:
                yield _enclose(stream.read())
                return
            place = 0
            for begin, length in [*(_find_members(path) if path.suffix == ".tar" else ()), (size, 0)]:
                if begin > place:
                    yield self._keep_range(stream, place, begin - place)
                if length:
                    yield self._keep_range(stream, begin, length)
                place = begin + length

    def _keep_range(self, stream: BinaryIO, begin: int, size: int) -> Parcel:
        """Return a part of a file; one that is not small is copied into the store in blocks."""
        stream.seek(begin)
        if size <= SMALL or not self._shares:
            return self._keep(stream.read(size))
        digest = hashlib.sha256()
        for block in _read_blocks(stream, size):
            digest.update(block)
        stream.seek(begin)
        return self._share(digest.hexdigest(), size, _read_blocks(stream, size))

    def _keep(self, data: bytes) -> Parcel:
        """Return content as a parcel: in this message if it is small, or cannot go elsewhere."""
        found = _enclose(data)
        if len(data) <= SMALL:
            return found
        if self._shares:
            return self._share(found.digest, found.size, [data])
        self._within += found.size
        if self._within > MOST_WITHIN:
            text = f"files of more than {format_bytes(MOST_WITHIN)} do not travel through the scheduler"
            raise EngineError(text, _HINT)
        return found

    def _share(self, digest: str, size: int, blocks: Iterable[bytes]) -> Parcel:
        """Put content into the shared store, if it was not put there before."""
        if digest not in self._sent:
            own = self._store.without_sharing()
            if own.get(_STAGE, digest) is None:
                with own.making(_STAGE, digest) as folder, (folder / _CONTENT).open("wb") as stream:
                    stream.writelines(blocks)
            assert self._store.shared
            if not self._store.shared.put(f"{_STAGE}/{digest}", own.path(_STAGE, digest).parent):
                raise EngineError("the shared store does not take the files of a job", _HINT)
            self._sent.add(digest)
        return Parcel(digest, size)

    def _read(self, parcel: Parcel) -> Iterator[bytes]:
        """Yield content in blocks; the last one comes once all of it was found right.

        Raises:
            EngineError: it is missing, or is not what its digest says.
        """
        if parcel.data is not None:
            _require_digest(parcel, hashlib.sha256(parcel.data).hexdigest())
            yield parcel.data
            return
        folder = self._store.get(_STAGE, parcel.digest)
        if folder is None:
            raise EngineError(f"the content {parcel.digest[:12]}… of a job did not arrive", _HINT)
        digest = hashlib.sha256()
        with open_regular(folder / _CONTENT) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                yield block
        _require_digest(parcel, digest.hexdigest())


def list_tree(folder: Path) -> list[tuple[str, Path]]:
    """List every file and folder below a folder, with the names in it."""
    return [(path.relative_to(folder).as_posix(), path) for path in folder.rglob("*")]


def make_given_name(path: Path) -> str:
    """Return the name that a file or folder of the command line has where it is built; its ending tells its kind."""
    return f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}/{path.name}"


def _list_given(path: Path) -> list[tuple[str, Path]]:
    name = make_given_name(path)
    return [(name, path), *((f"{name}/{inner}", found) for inner, found in list_tree(path))]


def _enclose(data: bytes) -> Parcel:
    return Parcel(hashlib.sha256(data).hexdigest(), len(data), data)


def _read_blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield a number of bytes from where the stream is.

    Raises:
        EngineError: the file ends before.
    """
    while size:
        block = stream.read(min(size, _BLOCK))
        if not block:
            raise EngineError("a file became shorter while it was sent", "run the build again")
        size -= len(block)
        yield block


def _find_members(path: Path) -> list[tuple[int, int]]:
    """Return where an archive's large members begin, and their sizes; none of what is no archive."""
    try:
        with tarfile.open(path, "r:") as archive:
            found = [(one.offset_data, one.size) for one in archive if one.isreg() and one.size > SMALL]
    except (tarfile.TarError, OSError, ValueError):
        return []
    return sorted(found)


def _decode(data: bytes) -> Packed:
    try:
        return decode(data, Packed)
    except (ValueError, RecursionError) as error:
        raise EngineError(f"files that were sent cannot be read: {error}", "run the build again") from None


def _require_inside(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise EngineError(f"a file that was sent would be written to '{name}'", "look at who can use the scheduler")


def _require_digest(parcel: Parcel, found: str) -> None:
    if found != parcel.digest:
        text = f"the content {parcel.digest[:12]}… of a job arrived as something else"
        raise EngineError(text, "look at who can write into the shared store, and run the build again")
