"""A bounded log of a child's output: its first and its last bytes, however much it prints."""

import os
import select
import threading
import time

_HEAD = _TAIL = 64 * 1024  # bytes
_LINES = 20  # of the end, which an error shows
_PERIOD = 0.1  # seconds between two looks at whether the child has ended
_GRACE = 2.0  # seconds to read what is left in the pipe, or what an escaped process goes on printing


class Log:
    """A reader of the pipe ``descriptor``, which it owns and reads in a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._head, self._tail = bytearray(), bytearray()
        self._left_out = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read_pipe, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read what is left in the pipe, for 2 seconds at most if a process still holds its other end."""
        self._ended.set()
        self._thread.join()

    def text(self) -> str:
        """Return the output, with a line in the place of the bytes that were left out."""
        gap = f"\n… {self._left_out} bytes left out …\n".encode() if self._left_out else b""
        return (bytes(self._head) + gap + bytes(self._tail)).decode(errors="replace")

    def last_lines(self) -> str:
        """Return the last 20 lines of the output."""
        return "\n".join(self.text().splitlines()[-_LINES:])

    def _read_pipe(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        deadline = float("inf")
        while time.monotonic() < deadline:
            if poll.poll(_PERIOD * 1000):
                data = os.read(self._descriptor, 1 << 16)
                if not data:
                    break
                self._keep(data)
            elif self._ended.is_set():
                break
            if self._ended.is_set():
                deadline = min(deadline, time.monotonic() + _GRACE)
        os.close(self._descriptor)

    def _keep(self, data: bytes) -> None:
        room = _HEAD - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        too_many = len(self._tail) - _TAIL
        if too_many > 0:
            del self._tail[:too_many]
            self._left_out += too_many
