"""What all readers of URLs share: their answer, the error after which they are tried again, and the slowest pace."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

CHUNK = 1 << 20
"""Bytes read at a time."""
WINDOW = 120.0
"""Seconds over which the speed is judged: time enough for a storage's block of 5 MiB over 350 kbit/s."""
SLOWEST = 1024
"""Bytes a second below which a transfer is as good as none: at this speed 100 MB take more than a day."""

ATTEMPTS = 5
"""The number of failures in a row, without progress, that end a transfer."""
_LONGEST_WAIT = 30.0  # seconds; also of what a server asks for
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Answer:
    """A file's bytes from ``start`` on; ``total`` is the size of the whole file, if it is known."""

    start: int
    total: int | None
    chunks: Iterator[bytes]
    close: Callable[[], None]


class Transient(Exception):  # noqa: N818 - it never leaves the fetching
    """A failure that may pass; ``wait`` is the pause in seconds that the server asks for, or 0."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait
        self.hint = "check the network and try again later: the download goes on where it stopped"


class TooSlow(Transient):
    """A transfer was too slow; a signal raises this anywhere, even between two lines that belong together."""


class Patience:
    """The failures of one transfer in a row, and the waits between its tries: 1, 2, 4, … seconds."""

    def __init__(self, size: int = 0, attempts: int = ATTEMPTS) -> None:
        self._furthest = size
        self._failures = 0
        self.attempts = attempts
        """How many failures in a row end it."""

    def allows(self, size: int) -> bool:
        """Count a failure after ``size`` bytes; return whether another try is due."""
        self._failures += 1
        # With a byte for each try it would never end.
        if size - self._furthest >= SLOWEST * WINDOW:
            self._furthest, self._failures = size, 1
        return self._failures < self.attempts

    def wait(self, error: Transient, pause: Callable[[float], object] | None = None) -> None:
        """Wait before the next try, by ``time.sleep`` or ``pause``: as long as the server asks for, within bounds."""
        (pause or time.sleep)(min(_LONGEST_WAIT, error.wait or 0.5 * 2**self._failures))


def read_number(text: str) -> int | None:
    """Return a header's number; None for what is none, or has more digits than any size or time."""
    return int(text) if _NUMBER.fullmatch(text) else None


class Pace:
    """A watch on the speed of a transfer, which interrupts the process if it is below ``SLOWEST`` over a ``WINDOW``.

    A timeout of the socket alone would not: a server that sends a byte from time to time, of a header, of a chunk's
    size or of the file, keeps each single read going.
    """

    def __init__(self) -> None:
        self.received = 0
        """Bytes so far; whoever receives them counts them here."""
        self._judged = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Watch the speed as long as the block lasts; in the main thread only, where a signal can end a read.

        Raises:
            TooSlow: less than ``SLOWEST`` bytes a second came.
        """
        self._judged = self.received
        before = signal.signal(signal.SIGALRM, self._judge)
        signal.setitimer(signal.ITIMER_REAL, WINDOW, WINDOW)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _judge(self, *_: Any) -> None:
        came, self._judged = self.received - self._judged, self.received
        if came < SLOWEST * WINDOW:
            raise TooSlow(f"less than {SLOWEST} bytes a second came for {WINDOW:g} s")
