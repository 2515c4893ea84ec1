"""How stages tell what they are doing, whoever listens."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Shown to a person while a build runs; never the result."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Around a stage's work."""

    def note(self, text: str) -> None:
        """One line about the stage at hand."""

    def skipped(self, name: str, why: str) -> None:
        """A stage whose result stands already."""


class SilentProgress:
    """Tell nobody."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Do nothing around a stage's work."""
        return nullcontext()

    def note(self, text: str) -> None:
        """Drop a line."""

    def skipped(self, name: str, why: str) -> None:
        """Drop what stands already."""
