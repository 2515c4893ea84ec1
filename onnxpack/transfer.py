"""What a reader of URLs gives, and how it says that trying again may help."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

CHUNK = 1 << 20
"""Bytes read at a time."""


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
