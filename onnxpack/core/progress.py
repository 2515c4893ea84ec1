"""The interface by which stages report progress."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Receives what a person sees while a build runs; results never go this way."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Show that a stage works as long as the block lasts."""

    def note(self, text: str) -> None:
        """Show one line about the stage at hand."""

    def skip(self, name: str, why: str) -> None:
        """Show that a stage is skipped since its result exists already."""


class SilentProgress:
    """A progress that shows nothing."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()

    def note(self, text: str) -> None:
        """Ignore a line."""

    def skip(self, name: str, why: str) -> None:
        """Ignore a skipped stage."""
