"""Files and folders that travel between stages: a path to work with, and the digest that stands for the content."""

from pathlib import Path
from typing import final

from onnxpack.core.digests import digest, digest_file, digest_tree


def locate_data(path: Path) -> Path:
    """Return the path at which the external data of the ONNX file ``path`` is, if it has any."""
    return path.with_name(f"{path.name}.data")


@final
class Artifact:
    """A file or folder with its SHA-256; two are equal if their content is, wherever they are."""

    __slots__ = ("digest", "path")

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self.digest = digest

    @classmethod
    def of(cls, path: Path) -> "Artifact":
        """Read what is at ``path``: a folder with all its files, or a file with the external data beside it.

        Raises:
            OSError: it cannot be read.
        """
        if path.is_dir():
            return cls(path, digest(digest_tree(path)))
        return cls.of_model(path, digest_file(path))

    @classmethod
    def of_model(cls, path: Path, sha256: str) -> "Artifact":
        """Read the external data, if any, beside the ONNX file at ``path``, whose own digest is known: ``sha256``.

        Raises:
            OSError: it cannot be read.
        """
        data = locate_data(path)
        return cls(path, digest(sha256, digest_file(data)) if data.exists() else sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Artifact({str(self.path)!r}, {self.digest[:12]}…)"
