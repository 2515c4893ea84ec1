"""What a store asks of one that others share; ``remote`` meets it by a storage that fsspec reaches."""

from pathlib import Path
from typing import Protocol


class Shared(Protocol):
    """A store that several machines share. A build never needs it: whatever goes wrong with it is a miss."""

    writes: bool
    """Whether this machine puts anything there."""

    def fetch(self, name: str, folder: Path) -> bool:
        """Unpack the entry ``name``, as ``stage/key``, into an empty folder; return whether that could be done.

        The caller verifies what is there then.

        Raises:
            OSError: the folder has no room for it.
        """

    def refuse(self, name: str, why: str) -> None:
        """Note that an entry which was fetched is damaged: it is told, and takes no place of a good one."""

    def give(self, name: str, entry: Path) -> None:
        """Share an entry, in the background; what is shared already stays as it is."""

    def put(self, name: str, entry: Path) -> bool:
        """Share an entry now, for a job that another machine is sent; return whether it is there afterwards."""

    def list_traces(self, name: str, base: str) -> list[bytes]:
        """Return the traces that machines have left for a request, each encoded, the newest last."""

    def give_trace(self, name: str, base: str, trace: bytes) -> None:
        """Share a trace, in the background; those that others left stay."""

    def finish(self) -> None:
        """Wait for what is being shared, for some seconds at most."""
