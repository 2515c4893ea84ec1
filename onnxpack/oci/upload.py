"""The upload of one blob: a copy of another repository's, whole, or in pieces that go on where they stopped."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO, Final, cast
from urllib.parse import urlencode, urlsplit

from onnxpack.core.errors import EngineError
from onnxpack.download.transfer import Transient, read_number
from onnxpack.oci.layout import BlobSource
from onnxpack.oci.manifests import Descriptor
from onnxpack.oci.registry import Registry, Stopped
from onnxpack.oci.transfers import Meter
from onnxpack.oci.transport import Answer, Request

PIECE = 16 * 2**20
"""Bytes of one request: what is lost when a connection breaks. Smaller blobs go in one."""
_LARGEST_PIECE = 2**30
_OK, _CREATED, _ACCEPTED, _NO_CONTENT = 200, 201, 202, 204
_THERE = (_OK, HTTPStatus.FOUND, HTTPStatus.TEMPORARY_REDIRECT)
"""How a registry says that it has a blob: a redirect leads to where it is, which a HEAD needs no look at."""
_LOST = HTTPStatus.NOT_FOUND
_OUT_OF_ORDER = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
_NO_PIECES = (400, 405, 411, 501)
"""How registries say that they take no pieces, each in its way."""
_NOT_MOUNTED = (_ACCEPTED, 400, 401, 403, 404, 405)
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_ASK = "ask whoever runs the registry, or look into its log"


@dataclass(frozen=True)
class Target:
    """A repository of a registry, and where else on that registry the blobs may be."""

    registry: Registry
    repository: str
    name: str
    """The repository as people know it, with the registry."""
    origin: str | None = None


def has_blob(target: Target, blob: Descriptor) -> bool:
    """Return whether a repository has a blob.

    Raises:
        EngineError: the registry refuses to say, or has it with another size.
    """
    place = f"/v2/{target.repository}/blobs/{blob.digest}"
    reply = target.registry.ask(Request("HEAD", place, (*_THERE, _LOST)), f"push to {target.name}")
    size = read_number(reply.headers.get("Content-Length", "")) if reply.status == _OK else None
    if size not in (None, blob.size):
        text = f"{target.name} has {size} bytes under {blob.digest}, which has {blob.size}"
        raise EngineError(text, _ASK)
    return reply.status != _LOST


class Upload:
    """The upload of one blob, which survives breaks."""

    def __init__(self, target: Target, source: BlobSource, blob: Descriptor, meter: Meter) -> None:
        self._target: Final = target
        self._source: Final = source
        self._blob: Final = blob
        self._meter: Final = meter
        self._what = f"push to {target.name}"
        self._session: str | None = None
        """The address that the next bytes go to."""
        self._done = 0
        """The bytes that the registry has of it."""
        self._counted = 0
        self._piece = PIECE
        self._whole = blob.size <= PIECE
        self._tried = False
        self._disorders = 0
        """How often the registry lost a piece: more than once, and the blob is sent whole."""

    def run(self) -> None:
        """Send the blob.

        Raises:
            EngineError: the registry refuses it, or breaks again and again.
        """
        if self._target.origin and self._mount(self._target.origin):
            return
        for attempt in self._target.registry.retrying(self._what):
            with attempt:
                try:
                    self._try()
                finally:
                    attempt.size = self._done

    def _mount(self, origin: str) -> bool:
        """Ask for the blob that another repository has; return whether it is there now, or else begin an upload."""
        query = urlencode({"mount": self._blob.digest, "from": origin})
        request = Request("POST", f"/v2/{self._target.repository}/blobs/uploads/?{query}", (_CREATED, *_NOT_MOUNTED))
        try:
            reply = self._target.registry.ask(request, self._what)
        except EngineError:  # its token server gives no right to the other repository
            return False
        if reply.status == _ACCEPTED:
            self._session = self._read_place(reply.headers.get("Location"), reply.url)
        return reply.status == _CREATED

    def _try(self) -> None:
        """Send what is missing.

        Raises:
            Transient: it broke.
        """
        if self._tried:
            if has_blob(self._target, self._blob):  # the answer was lost, not the blob
                return
            self._ask_progress()
        self._tried = True
        if not self._session:
            self._begin()
        while not self._whole and self._done < self._blob.size:
            self._send_piece()
        self._finish()

    def _begin(self) -> None:
        request = Request("POST", f"/v2/{self._target.repository}/blobs/uploads/", (_ACCEPTED,))
        with self._target.registry.exchange(request, self._what) as answer:
            self._session = self._read_place(answer.headers.get("Location"), answer.url)
            least = read_number(answer.headers.get("OCI-Chunk-Min-Length", "")) or 0
        self._piece = max(PIECE, min(least, _LARGEST_PIECE))
        self._count(0)

    def _send_piece(self) -> None:
        assert self._session
        end = min(self._done + self._piece, self._blob.size)
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{self._done}-{end - 1}"}
        accepted = (_CREATED, _ACCEPTED, _NO_CONTENT, _LOST, _OUT_OF_ORDER, *_NO_PIECES)
        request = Request("PATCH", self._session, accepted, headers, lambda: self._open(end), end - self._done)
        with self._target.registry.exchange(request, self._what) as answer:
            if answer.status in _NO_PIECES:
                self._whole, self._session = True, None
                self._begin()
            elif answer.status in (_LOST, _OUT_OF_ORDER):
                self._disorders += 1
                self._whole = self._disorders > 1
                if answer.status == _LOST:
                    self._session = None
                raise Transient(f"{self._target.name} has lost a part of a blob that was sent")
            else:
                self._session = self._read_place(answer.headers.get("Location"), answer.url)
                self._count(self._read_progress(answer, end))

    def _finish(self) -> None:
        """Say that the blob is complete, with all of its bytes if they are not there yet."""
        assert self._session
        sign = "&" if urlsplit(self._session).query else "?"
        place = f"{self._session}{sign}{urlencode({'digest': self._blob.digest})}"
        size = self._blob.size - self._done
        headers = {"Content-Type": "application/octet-stream"}
        body = (lambda: self._open(self._blob.size)) if size else None
        request = Request("PUT", place, (_CREATED, _NO_CONTENT), headers, body, size)
        with self._target.registry.exchange(request, self._what) as answer:
            said = answer.headers.get("Docker-Content-Digest", self._blob.digest)
        if said != self._blob.digest:
            raise EngineError(f"{self._target.name} has {said[:100]} instead of the blob {self._blob.digest}", _ASK)
        self._count(self._blob.size)

    def _ask_progress(self) -> None:
        """Ask what the registry has after a break; begin again where it has no upload any more, or got all at once."""
        if self._whole or not self._session:
            self._session = None
            return
        request = Request("GET", self._session, (_NO_CONTENT, _OK, _ACCEPTED, _LOST, 410, *_NO_PIECES))
        with self._target.registry.exchange(request, self._what) as answer:
            if answer.status not in (_NO_CONTENT, _OK, _ACCEPTED):
                self._session = None
                return
            if place := answer.headers.get("Location"):
                self._session = self._read_place(place, answer.url)
            self._count(self._read_progress(answer, 0))

    def _read_progress(self, answer: Answer, otherwise: int) -> int:
        """Return how many bytes the registry has by its word, or ``otherwise``."""
        found = _RANGE.fullmatch(answer.headers.get("Range", ""))
        # It says 0-0 of nothing as well as of one byte; a piece that is sent twice is refused, and then begun anew.
        last = int(found[1]) if found else 0
        has = last + 1 if last else otherwise
        if has > self._blob.size:
            raise EngineError(f"{self._target.name} has {has} bytes of a blob of {self._blob.size}", _ASK)
        return has

    def _read_place(self, place: str | None, origin: str) -> str:
        if not place:
            raise EngineError(f"{self._target.name} does not say where a blob goes", _ASK)
        return self._target.registry.locate(place, origin)

    def _count(self, done: int) -> None:
        self._done = done
        self._meter.add(done - self._counted)
        self._counted = done

    def _open(self, end: int) -> BinaryIO:
        return cast(BinaryIO, _Piece(self._source, self._blob, (self._done, end), self._note))

    def _note(self, count: int) -> None:
        """Count bytes that are on their way; raise where they shall not be."""
        if self._target.registry.stop.is_set():
            raise Stopped
        self._meter.add(count)
        self._counted += count


class _Piece(io.RawIOBase):
    """A part of a blob as a stream, which tells how far it is read."""

    def __init__(
        self, source: BlobSource, blob: Descriptor, between: tuple[int, int], note: Callable[[int], None]
    ) -> None:
        self._blob = blob
        self._stream = source.open(blob.digest)
        self._stream.seek(between[0])
        self._left = between[1] - between[0]
        self._note = note

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes of the part.

        Raises:
            EngineError: the blob cannot be read, or has fewer bytes than its descriptor says.
            Stopped: it shall not be sent any more.
        """
        wanted = min(len(buffer), self._left)
        try:
            data = self._stream.read(wanted)
        except OSError as error:
            text = f"the blob {self._blob.digest} cannot be read: {error.strerror}"
            raise EngineError(text, "check the disk that it is on") from None
        if wanted and not data:
            raise EngineError(f"the blob {self._blob.digest} is cut short", "build the image again")
        buffer[: len(data)] = data
        self._left -= len(data)
        self._note(len(data))
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
