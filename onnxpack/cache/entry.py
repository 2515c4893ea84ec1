"""An entry of the store: a folder of files, and a manifest that names the entry's own place and the files' digests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxpack.core.digests import digest_tree
from onnxpack.core.holds import unheld
from onnxpack.core.regular import read_regular

MANIFEST, DATA = "manifest.json", "data"
"""The parts of an entry: what it says of itself, and the folder of its files."""
MANIFEST_LIMIT = 256 * 2**20  # bytes; an environment with TensorFlow has 5 MB of them


def read_contents(entry: Path, name: str = "") -> dict[str, str] | None:
    """Return the digests of an entry's files, or None if it is incomplete, damaged or that of another place.

    ``name`` is its name where it does not stand in its place.
    """
    data = entry / DATA
    if any(path.is_symlink() or not path.is_dir() for path in (entry, data)):
        return None
    try:
        files = digest_tree(data)
        manifest = json.loads(read_regular(entry / MANIFEST, MANIFEST_LIMIT))
        named = name or f"{entry.parent.name}/{entry.name}"
        return files if manifest == {"entry": named, "files": files} else None
    except (OSError, ValueError, RecursionError):
        return None


@contextmanager
def unheld_entry(entry: Path) -> Iterator[bool]:
    """Yield whether nobody holds an entry; what has no manifest can be held by nobody."""
    if not (entry / MANIFEST).is_file():
        yield True
        return
    with unheld(entry / MANIFEST) as free:
        yield free
