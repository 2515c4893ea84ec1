"""Bring a file that a spec names by its URL."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.download.local import Bounds
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class FetchFile(Task[int]):
    """Bring what a URL gives into the file ``partial``; the result is its size in bytes."""

    NAME = "fetch"
    TRUSTED = True
    url: str
    sha256: str
    partial: Path
    total: Path
    """Where the size goes that the server announces, for whoever watches."""
    bounds: Bounds

    def run(self, folder: Path, say: Say) -> int:
        """Fetch the file."""
        from onnxpack.download.fetch import fetch

        return fetch(self.url, self.sha256, self.partial, self.total, self.bounds)
