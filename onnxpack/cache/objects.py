"""Folders of objects that appear whole, and the kind of them that is a folder of this machine's file systems."""

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from onnxpack.core.errors import SpecError
from onnxpack.core.regular import open_regular

Count = Callable[[int], None]
"""Receives how many bytes were moved; what it raises ends the transfer."""

_CHUNK = 2**20


class Objects(Protocol):
    """A folder of objects; whatever else than ``FileNotFoundError`` is raised says that it cannot be asked."""

    def require(self) -> None:
        """Make sure that what is needed is installed, without importing it, which takes a while.

        Raises:
            SourceError: a package is not installed.
            SpecError: nothing reads such URLs.
        """

    def prepare(self) -> None:
        """Import what is needed, and look whether the folder can be there.

        Raises:
            OnnxpackError: a package cannot be imported.
            OSError: the folder cannot be there.
        """

    def list(self, folder: str) -> dict[str, float]:
        """Return the names of the objects directly below a folder, with their times as far as they are known, else 0.

        Raises:
            FileNotFoundError: there is no such folder.
        """

    def read(self, name: str, limit: int, count: Count) -> bytes:
        """Return the first ``limit`` bytes of an object.

        Raises:
            FileNotFoundError: there is none.
        """

    def has(self, name: str) -> bool:
        """Return whether there is an object."""

    def download(self, name: str, target: Path, count: Count) -> None:
        """Write an object into a file.

        Raises:
            FileNotFoundError: there is none.
        """

    def upload(self, source: Path, name: str, count: Count) -> None:
        """Write a file to an object, over what is there."""


def open_objects(url: str) -> Objects:
    """Return the folder that a URL names; nothing is asked yet.

    Raises:
        SpecError: it is no URL, or one of a kind that is not known.
        SourceError: the package that reads such URLs is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        parts = urlsplit(url)
        path = Path(unquote(parts.path) if separator else url)
        if not path.is_absolute() or (separator and parts.netloc):
            raise SpecError("the shared store's folder must be an absolute path", "name it as file:///folder")
        return FolderObjects(path)
    if not rest.strip("/"):
        raise SpecError("the URL of the shared store names no bucket", f"write it as {scheme}://bucket/prefix")
    from onnxpack.cache.storages import StorageObjects  # which a folder does not need

    return StorageObjects(url)


class FolderObjects:
    """A folder that several machines mount, or users of one machine share."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def require(self) -> None:
        """Do nothing: nothing is needed."""

    def prepare(self) -> None:
        """Look whether the folder above is there: a file system that is not mounted is not written into.

        Raises:
            OSError: it is not.
        """
        if not self._root.parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "there is no such folder", str(self._root.parent))

    def list(self, folder: str) -> dict[str, float]:
        """Return the names of the files directly below a folder, with their times."""
        with os.scandir(self._root / folder) as entries:
            return {one.name: one.stat().st_mtime for one in entries if one.is_file() and not one.name.startswith(".")}

    def read(self, name: str, limit: int, count: Count) -> bytes:
        """Return the first ``limit`` bytes of a file."""
        with open_regular(self._root / name, follow=False) as stream:
            data = stream.read(limit)
        count(len(data))
        return data

    def has(self, name: str) -> bool:
        """Return whether there is a file."""
        return os.path.lexists(self._root / name)

    def download(self, name: str, target: Path, count: Count) -> None:
        """Copy a file."""
        _copy(self._root / name, target, count)

    def upload(self, source: Path, name: str, count: Count) -> None:
        """Copy a file to its place, whole."""
        place = self._root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        try:
            _copy(source, beside, count)
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)


def _copy(source: Path, target: Path, count: Count) -> None:
    with open_regular(source, follow=False) as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            count(len(chunk))
            writer.write(chunk)
