"""Messages over a pipe, one behind another: the length of each in four bytes, and then the message of the codec."""

import os
import struct
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from onnxpack.fleet.events import AnyEvent
from onnxpack.fleet.job import Job
from onnxpack.worker.codec import decode, encode

_LENGTH = struct.Struct(">I")
_LONGEST = 2**30  # bytes; a report has thousands
_CHUNK = 1 << 16


class Sender:
    """The writing end of a pipe; several threads may send."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        """Send a message whole.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        data = encode(message)
        rest = memoryview(_LENGTH.pack(len(data)) + data)
        with self._lock:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


class Receiver:
    """The reading end of a pipe that events come through; it is read when there is something."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._read = bytearray()

    def receive(self) -> list[AnyEvent] | None:
        """Read what is there and return the events that are whole by now; None once the other end is closed.

        Raises:
            ValueError: it is no event.
        """
        data = os.read(self.descriptor, _CHUNK)
        self._read += data
        return list(self._take_whole()) if data else None

    def _take_whole(self) -> Iterator[AnyEvent]:
        while len(self._read) >= _LENGTH.size:
            end = _LENGTH.size + _unpack_length(self._read[: _LENGTH.size])
            if len(self._read) < end:
                return
            message = bytes(self._read[_LENGTH.size : end])
            del self._read[:end]
            yield decode(message, AnyEvent)  # type: ignore[arg-type]  # a union is a type for the codec


def receive_job(stream: BinaryIO) -> Job | None:
    """Wait for the next job; None once no other comes."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    data = stream.read(_unpack_length(head))
    return decode(data, Job)


def _unpack_length(head: bytes | bytearray) -> int:
    length: int = _LENGTH.unpack(head)[0]
    if length > _LONGEST:
        raise ValueError(f"a message of {length} bytes")
    return length
