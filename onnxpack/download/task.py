"""The task that downloads a file."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.download.local import Bounds
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class FetchFile(Task[int]):
    """A download of ``url`` to the file ``partial``; the result is the size in bytes."""

    NAME = "fetch"
    TRUSTED = True
    url: str
    sha256: str
    partial: Path
    total: Path
    """The file for the size that the server announces, for a display of progress."""
    bounds: Bounds

    def run(self, folder: Path, say: Say) -> int:
        """Download the file and return its size in bytes."""
        from onnxpack.download.fetch import fetch

        return fetch(self.url, self.sha256, self.partial, self.total, self.bounds)
