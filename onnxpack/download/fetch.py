"""The download of one file in a child process, with retries, resumption and a check of its digest.

http, https and file need the standard library alone; every other scheme is fsspec's, with its own configuration.
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial as bound
from io import BufferedRandom
from pathlib import Path

from onnxpack.core.errors import DISK_FULL, EngineError, OnnxpackError
from onnxpack.core.text import format_bytes as sized
from onnxpack.download.http import open_http
from onnxpack.download.local import Bounds, open_file
from onnxpack.download.storage import open_storage
from onnxpack.download.transfer import Answer, Pace, Patience, TooSlow, Transient
from onnxpack.spec.origin import format_source

Read = Callable[[str, int], Answer]


@dataclass(frozen=True)
class _Wanted:
    """A file to download: its URL, its path here, its reader, and its size limit in bytes."""

    url: str
    path: Path
    total: Path
    read: Read
    limit: int


def fetch(url: str, sha256: str, path: Path, total: Path, bounds: Bounds) -> int:
    """Download a URL to the file ``path``, continue what an earlier try left there, and return the size in bytes.

    The size that the server announces is written to the file ``total`` for whoever watches. Call it in the
    main thread (see ``Pace``).

    Raises:
        SpecError: a file: URL is outside the allowed folders.
        EngineError: it is not there, access is refused, the network fails, it is too large, the digest differs, or the
            disk is full. In the last three cases the file is removed.
        SourceError: the package that reads such URLs is not installed.
    """
    wanted = _Wanted(url, path, total, _choose_reader(url, bounds.roots), bounds.limit)
    while True:
        resumed = path.exists() and path.stat().st_size > 0
        try:
            actual = _download_rest(wanted)
        except OnnxpackError:
            raise
        except OSError as error:
            if error.errno in DISK_FULL:  # what is here already would take the room from builds that do not need it
                path.unlink(missing_ok=True)
            raise EngineError(
                f"cannot keep '{format_source(url)}': {error.strerror}", "free disk space in the folder ONNXPACK_CACHE"
            ) from None
        if actual == sha256:
            return path.stat().st_size
        size = path.stat().st_size
        path.unlink()
        if not resumed:  # else the start was of another file, so once more from there
            raise EngineError(
                f"'{format_source(url)}' is not the file that the spec trusts: its sha256 is {actual} ({size} bytes)",
                "restore the file, or, if you trust this one, set `sha256` to its digest",
            )


def _choose_reader(url: str, roots: Sequence[str]) -> Read:
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        return open_http
    return bound(open_file, roots=roots) if scheme == "file" else open_storage


class _Part:
    """The downloaded part of a file, open at its end, with its digest so far."""

    def __init__(self, stream: BufferedRandom) -> None:
        self.stream = stream
        self.rehash()

    @property
    def size(self) -> int:
        """Return the size of the part in bytes."""
        return self.stream.tell()

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the part."""
        return self._hasher.hexdigest()

    def rehash(self) -> None:
        """Compute the digest from the file again."""
        self.stream.flush()
        self.stream.seek(0)
        self._hasher = hashlib.file_digest(self.stream, "sha256")

    def cut(self, size: int) -> None:
        """Keep the first ``size`` bytes."""
        self.stream.truncate(size)
        self.rehash()

    def append(self, chunk: bytes) -> None:
        """Add bytes at the end."""
        self.stream.write(chunk)
        self._hasher.update(chunk)


def _download_rest(wanted: _Wanted) -> str:
    """Download all that is missing, with retries, and return the whole file's SHA-256."""
    with wanted.path.open("a+b") as stream:
        part = _Part(stream)
        patience = Patience(part.size)
        while True:
            try:
                _receive(wanted, part)
                return part.sha256
            except Transient as error:
                if isinstance(error, TooSlow):  # a signal raised it, perhaps between the write and the digest
                    part.rehash()
                if not patience.allows(part.size):
                    raise EngineError(f"cannot fetch '{format_source(wanted.url)}': {error}", error.hint) from None
                patience.wait(error)


def _receive(wanted: _Wanted, part: _Part) -> None:
    """Append the bytes of one answer.

    Raises:
        Transient: the answer ended before the file did.
        EngineError: the file is larger than it may be.
        OSError: the disk has no room for it.
    """
    pace = Pace()
    with pace.kept(), _answering(wanted.read, wanted.url, part.size) as answer:
        if answer.start != part.size:  # it cannot resume, and begins anew
            part.cut(answer.start)
        wanted.total.write_text(json.dumps(answer.total))
        if answer.total is not None:
            _require_allowed(wanted, answer.total)
            _require_room(wanted.path, answer.total - part.size)
        for chunk in answer.chunks:
            pace.received += len(chunk)
            _require_allowed(wanted, part.size + len(chunk))
            part.append(chunk)
    if answer.total is not None and part.size < answer.total:
        raise Transient(f"the answer ended after {part.size} of {answer.total} bytes")


def _require_allowed(wanted: _Wanted, size: int) -> None:
    if size > wanted.limit:
        wanted.path.unlink(missing_ok=True)
        hint = "if you trust it, raise the limit, for example to ONNXPACK_MAX_DOWNLOAD=100GB"
        raise EngineError(f"'{format_source(wanted.url)}' is larger than the limit of {sized(wanted.limit)}", hint)


def _require_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"it needs {sized(needed)} more, and {sized(free)} are free")


@contextmanager
def _answering(read: Read, url: str, start: int) -> Iterator[Answer]:
    answer = read(url, start)
    try:
        yield answer
    finally:
        answer.close()
