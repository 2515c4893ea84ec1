"""What a reader of URLs gives, how it says that trying again may help, and how slow it may be."""

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
    """A file's bytes from ``start`` on; ``total`` is the whole file's size, if it is known."""

    start: int
    total: int | None
    chunks: Iterator[bytes]
    close: Callable[[], None]


class Transient(Exception):  # noqa: N818 - it never leaves the fetching
    """A failure that may pass; ``wait`` is how many seconds the server asks for, 0 if it does not."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait
        self.hint = "it was tried several times; check the network, and try later: it goes on where it stopped"


class TooSlow(Transient):
    """Too little came for too long; it may be raised anywhere, also between two lines that belong together."""


class Pace:
    """How fast bytes come. Below ``SLOWEST`` over a ``WINDOW`` it ends whatever the process waits for.

    A timeout of the socket alone would not: a server that sends a byte from time to time, of a header, of a chunk's
    size or of the file, keeps each single read going.
    """

    def __init__(self) -> None:
        self.received = 0
        """Bytes so far; whoever receives them counts them here."""
        self._judged = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the pace as long as the context lasts; in the main thread only, where a signal can end a read.

        Raises:
            TooSlow: too little came.
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
