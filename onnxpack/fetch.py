"""Fetches one file from a URL, in a child process: resumed where it stopped, tried again, and known by its digest.

http and https need the standard library alone; every other scheme is fsspec's, with its own configuration.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

from onnxpack.errors import EngineError, OnnxpackError
from onnxpack.remote_files import from_storage
from onnxpack.remote_http import from_http
from onnxpack.spec.origin import shown
from onnxpack.transfer import Answer, Transient

_ATTEMPTS = 5
"""Failures in a row, none of them with progress, that end it."""
_LONGEST_WAIT = 30.0  # seconds; also of what a server asks for


def fetch(url: str, sha256: str, path: Path, total: Path) -> int:
    """Writes what the URL gives to the file ``path``, behind what an earlier try left there; gives its size.

    The size that the server announces is written to the file ``total`` for whoever watches.

    Raises:
        EngineError: it is not there, access is refused, the network fails, the digest differs, or the disk is full.
        SourceError: what reads such URLs is not installed.
    """
    read = from_http if url.partition("://")[0].lower() in ("http", "https") else from_storage
    while True:
        resumed = path.exists() and path.stat().st_size > 0
        try:
            actual = _complete(url, path, total, read)
        except OnnxpackError:
            raise
        except OSError as error:
            raise EngineError(f"cannot keep '{shown(url)}': {error.strerror}", "make room in ONNXPACK_CACHE") from None
        if actual == sha256:
            return path.stat().st_size
        size = path.stat().st_size
        path.unlink()
        if not resumed:  # else the start was of another file, so once more from there
            raise EngineError(
                f"'{shown(url)}' is not the file that the spec trusts: its sha256 is {actual} ({size} bytes)",
                "restore the file, or write the new digest into model.sha256 if you trust it",
            )


def _complete(url: str, path: Path, total: Path, read: Callable[[str, int], Answer]) -> str:
    """Appends all that is missing, with retries, and gives the whole file's SHA-256."""
    with path.open("a+b") as stream:
        hasher = _hashed(stream)
        furthest, failures = stream.tell(), 0
        while True:
            try:
                with _answering(read, url, stream.tell()) as answer:
                    if answer.start != stream.tell():  # it cannot resume, and begins anew
                        stream.truncate(answer.start)
                        hasher = _hashed(stream)
                    total.write_text(json.dumps(answer.total))
                    for chunk in answer.chunks:
                        stream.write(chunk)
                        hasher.update(chunk)
                if answer.total is not None and stream.tell() < answer.total:
                    raise Transient(f"the answer ended after {stream.tell()} of {answer.total} bytes")
                return hasher.hexdigest()
            except Transient as error:
                failures = 1 if stream.tell() > furthest else failures + 1
                furthest = max(furthest, stream.tell())
                if failures >= _ATTEMPTS:
                    raise EngineError(f"cannot fetch '{shown(url)}': {error}", error.hint) from None
                time.sleep(min(_LONGEST_WAIT, error.wait or 0.5 * 2**failures))


def _hashed(stream: BufferedRandom) -> "hashlib._Hash":
    """The digest of what stands in the file so far; leaves it at its end."""
    stream.flush()
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256")


@contextmanager
def _answering(read: Callable[[str, int], Answer], url: str, start: int) -> Iterator[Answer]:
    answer = read(url, start)
    try:
        yield answer
    finally:
        answer.close()
