"""What all readers of URLs share: their answer, the error after which they are tried again, and the slowest pace."""

import signal
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
