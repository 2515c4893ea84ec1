"""A folder of objects in any storage that fsspec reaches, which is imported when the storage is asked first."""

import importlib.util
import os
import secrets
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

from onnxpack.cache.objects import Count
from onnxpack.core.errors import SourceError, SpecError

_INSTALL = "pip install 'onnxpack[remote]'"
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
}  # fmt: skip
"""The packages that read what most people use; to find others, fsspec is imported."""
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"})
"""The protocols whose objects appear whole by themselves; with others they are written beside, and renamed."""


class StorageObjects:
    """A folder of a storage, by fsspec, which finds the storage's credentials where they are configured."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._protocol = url.partition("://")[0].lower()
        self._lock = threading.Lock()
        self._opened: tuple[int, Any, str] | None = None
        """The process that opened the storage: a connection does not outlive a fork."""

    def require(self) -> None:
        """Look for the storage's package; what fsspec's own list alone can tell is imported.

        Raises:
            SourceError: it is not installed.
            SpecError: nothing reads such URLs.
        """
        known = _PACKAGES.get(self._protocol)
        if known is None or any(importlib.util.find_spec(name) is None for name in ("fsspec", known)):
            self.prepare()

    def prepare(self) -> None:
        """Import the storage's package.

        Raises:
            SourceError: it is not installed.
            SpecError: nothing reads such URLs.
        """
        try:
            import fsspec

            fsspec.get_filesystem_class(self._protocol)
        except ImportError as error:
            missing = "fsspec" if error.name == "fsspec" else f"a package for {self._protocol}: URLs"
            raise SourceError(f"the shared store needs {missing}, which is not installed", _INSTALL) from None
        except ValueError:
            words = f"nothing reads {self._protocol}: URLs of a shared store"
            raise SpecError(words, "use s3://, gs://, az:// or file://") from None

    def list(self, folder: str) -> dict[str, float]:
        """Return the names of the objects directly below a folder, with their times."""
        system, root = self._open()
        found = system.ls(f"{root}/{folder}", detail=True)
        return {_name_of(one): _time_of(one) for one in found if one["type"] == "file"}

    def read(self, name: str, limit: int, count: Count) -> bytes:
        """Return the first ``limit`` bytes of an object."""
        system, root = self._open()
        data: bytes = system.cat_file(f"{root}/{name}", start=0, end=limit)
        count(len(data))
        return data

    def has(self, name: str) -> bool:
        """Return whether there is an object."""
        system, root = self._open()
        try:
            system.info(f"{root}/{name}")
        except FileNotFoundError:
            return False
        return True

    def download(self, name: str, target: Path, count: Count) -> None:
        """Write an object into a file."""
        system, root = self._open()
        system.get_file(f"{root}/{name}", str(target), callback=_make_callback(count))

    def upload(self, source: Path, name: str, count: Count) -> None:
        """Write a file to an object."""
        system, root = self._open()
        place = f"{root}/{name}"
        if self._protocol in _WHOLE:
            system.put_file(str(source), place, callback=_make_callback(count))
            return
        beside = f"{place}.{secrets.token_hex(4)}.part"
        system.makedirs(place.rpartition("/")[0], exist_ok=True)
        system.put_file(str(source), beside, callback=_make_callback(count))
        system.mv(beside, place)

    def _open(self) -> tuple[Any, str]:
        import fsspec

        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                system, root = fsspec.core.url_to_fs(self._url, use_listings_cache=False, skip_instance_cache=True)
                self._opened = os.getpid(), system, root.rstrip("/")
            return self._opened[1:]


def _make_callback(count: Count) -> Any:
    import fsspec.callbacks

    class Counting(fsspec.callbacks.Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            count(inc)

    return Counting()


def _name_of(found: dict[str, Any]) -> str:
    return str(found["name"]).rstrip("/").rpartition("/")[2]


def _time_of(found: dict[str, Any]) -> float:
    for key in ("LastModified", "mtime", "updated", "last_modified", "created"):
        known = found.get(key)
        if isinstance(known, datetime):
            return known.timestamp()
        if isinstance(known, int | float):
            return float(known)
    return 0.0
