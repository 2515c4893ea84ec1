"""A progress that keeps what it is told."""

from collections.abc import Iterator
from contextlib import contextmanager


class Told:
    """What a person would have seen."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.lines.append(name)
        yield

    def note(self, text: str) -> None:
        self.lines.append(text)

    def skip(self, name: str, why: str) -> None:
        self.lines.append(f"{name} {why}")
