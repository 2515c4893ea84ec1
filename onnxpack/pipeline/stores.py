"""The store as the environment describes it: its place, its bound, and what it shares with other machines."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxpack.cache.shared import Shared
from onnxpack.cache.store import Bound, Store, find_default_root
from onnxpack.core.errors import Location, SourceError, SpecError
from onnxpack.image import IMAGES
from onnxpack.spec.messages import shorten
from onnxpack.spec.variables import read_size_variable

if TYPE_CHECKING:
    from onnxpack.cache.room import Keeper

URL_VARIABLE = "ONNXPACK_REMOTE_CACHE"
"""The URL of the shared store: s3://bucket/prefix, or any other that fsspec reads, or file:///folder."""
MODE_VARIABLE = "ONNXPACK_REMOTE_CACHE_MODE"
READ, WRITE = "read", "write"
"""Whether a build takes results alone, or puts its own there too."""
SIZE_VARIABLE = "ONNXPACK_CACHE_SIZE"
DEFAULT_SIZE = 20 * 10**9
"""Bytes that a store may have: some hundred small specs, or a dozen environments with PyTorch."""


def open_store(*, fresh: bool = False, tell: Callable[[str], None] = lambda line: None) -> Store:
    """Return the user's store; ``fresh`` takes nothing that was made before, ``tell`` receives lines for a person.

    Whoever opens one calls its ``finish`` in the end.

    Raises:
        SpecError: a variable says something that cannot be meant.
        SourceError: the shared store needs a package that is not installed.
    """
    root = find_default_root()
    return Store(root, fresh, open_shared(root, tell), Bound(read_bound(), list_keepers))


def list_keepers(store: Store) -> "tuple[Keeper, ...]":
    """Return those that know all that a store keeps."""
    from onnxpack.cache.kept import KeptEntries
    from onnxpack.oci.kept import KeptImages
    from onnxpack.oci.layout import Layout

    return KeptEntries(store, frozenset({IMAGES})), KeptImages(Layout(store.root / IMAGES))


def read_bound() -> int:
    """Return how many bytes the store may have: ``ONNXPACK_CACHE_SIZE``, else 20 GB.

    Raises:
        SpecError: it is not a size.
    """
    return read_size_variable(SIZE_VARIABLE, DEFAULT_SIZE, "50GB")


def read_mode() -> str:
    """Return whether results are taken alone, ``READ``, or given too, ``WRITE``: ``ONNXPACK_REMOTE_CACHE_MODE``.

    Raises:
        SpecError: it is something else.
    """
    mode = os.environ.get(MODE_VARIABLE) or WRITE
    if mode not in (READ, WRITE):
        raise SpecError(f"{MODE_VARIABLE} must be {READ} or {WRITE}, not '{shorten(mode)}'")
    return mode


@dataclass(frozen=True)
class SharedStore:
    """The shared store as a person may see it: its URL without a login, and ``READ`` or ``WRITE``."""

    url: str
    mode: str


def describe_shared() -> SharedStore | None:
    """Return what the environment says of a shared store; None where it names none.

    Raises:
        SpecError: the variable of the mode says something that cannot be meant.
    """
    from onnxpack.cache.remote import show_url

    url = os.environ.get(URL_VARIABLE)
    return SharedStore(show_url(url), read_mode()) if url else None


def open_shared(root: Path, tell: Callable[[str], None]) -> Shared | None:
    """Return the store that ``ONNXPACK_REMOTE_CACHE`` names, if it names one; nothing is asked yet.

    Raises:
        SpecError: the variable, or that of the mode, says something that cannot be meant.
        SourceError: the package for such URLs is not installed.
    """
    url, mode = os.environ.get(URL_VARIABLE), read_mode()
    if not url:
        return None
    from onnxpack.cache.objects import open_objects
    from onnxpack.cache.remote import Remote

    try:
        objects = open_objects(url)
        objects.require()
    except (SpecError, SourceError) as error:
        raise error.at(Location(URL_VARIABLE)) from None
    return Remote(objects, url, root, tell, writes=mode == WRITE)
