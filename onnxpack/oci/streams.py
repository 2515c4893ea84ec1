"""Read a layer from its beginning to its end, and compare both of its digests on the way."""

import contextlib
import hashlib
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from onnxpack.core.errors import EngineError
from onnxpack.oci.compression import decompress
from onnxpack.oci.layout import BlobSource
from onnxpack.oci.manifests import Descriptor

_MOST_READ = 2**20
"""The most bytes that one read of an archive may ask for: a header of more would be held in memory."""
_LEAST_LIMIT, _RATIO = 2**30, 1100
"""What a layer may become: so many bytes, or so many times its size if that is more; gzip reaches 1,032 times. Without
a limit a layer of some kilobytes could fill the disk."""


class LayerStream:
    """The content of a layer as a file that is read forward alone, which is all that ``tarfile`` needs."""

    def __init__(self, chunks: Iterator[bytes], most: int) -> None:
        self._chunks = chunks
        self._most = most
        self._chunk = b""
        self._used = 0
        self._position = 0
        self._hash = hashlib.sha256()
        self._last = b""

    @property
    def diff_id(self) -> str:
        """Return the digest of what has been decompressed so far."""
        return f"sha256:{self._hash.hexdigest()}"

    @property
    def ended(self) -> bool:
        """Return whether the last read found the end of a tar: a block of zeros, or nothing."""
        return not self._last.strip(b"\0")

    def read(self, count: int = -1) -> bytes:
        """Return so many bytes, fewer at the end.

        Raises:
            tarfile.ReadError: a header is too long.
        """
        if not 0 <= count <= _MOST_READ:
            raise tarfile.ReadError(f"a header asks for {count} bytes")
        parts: list[bytes] = []
        while count and (part := self._take(count)):
            parts.append(part)
            count -= len(part)
        self._last = b"".join(parts)
        return self._last

    def seek(self, position: int) -> int:
        """Skip bytes.

        Raises:
            tarfile.ReadError: the position lies behind.
        """
        if position < self._position:
            raise tarfile.ReadError("the size of a file leads back")
        while self._position < position and self._take(position - self._position):
            pass
        return self._position

    def tell(self) -> int:
        """Return how many bytes have been read or skipped."""
        return self._position

    def drain(self) -> None:
        """Read what is left."""
        while self._take(_MOST_READ):
            pass

    def _take(self, most: int) -> bytes:
        """Return some bytes, none at the end."""
        if self._used == len(self._chunk):
            self._chunk, self._used = next(self._chunks, b""), 0
            self._hash.update(self._chunk)
        taken = self._chunk[self._used : self._used + most]
        self._used += len(taken)
        self._position += len(taken)
        if self._position > self._most:
            raise EngineError(f"a layer has more than {self._most} bytes", "use another base image")
        return taken


class _BlobStream:
    """A blob whose bytes are digested as they are read; its reader may go back to the beginning."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._position = 0
        self.size = 0
        """How many bytes have been read, each counted once."""

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def read(self, count: int = -1) -> bytes:
        data = self._stream.read(count)
        fresh = data[max(self.size - self._position, 0) :]
        self._position += len(data)
        self._hash.update(fresh)
        self.size += len(fresh)
        return data

    def seek(self, position: int) -> int:
        self._position = self._stream.seek(position)
        return self._position


@contextlib.contextmanager
def open_layer(source: BlobSource, layer: Descriptor, diff_id: str) -> Iterator[LayerStream]:
    """Yield a layer's content; when the block has ended, the rest is read, and its digests are compared.

    Raises:
        EngineError: the blob is not there, cannot be decompressed, or is not what the digests say.
    """
    with source.open(layer.digest) as raw:
        blob = _BlobStream(raw)
        stream = LayerStream(decompress(cast(BinaryIO, blob)), max(_LEAST_LIMIT, layer.size * _RATIO))
        yield stream
        stream.drain()
        while blob.read(_MOST_READ):
            pass
    for name, expected, found in (
        ("its digest", layer.digest, blob.digest),
        ("the digest of its content", diff_id, stream.diff_id),
        ("its size", layer.size, blob.size),
    ):
        if expected != found:
            raise EngineError(f"a layer is damaged: {name} is {found} instead of {expected}", "fetch the image again")
