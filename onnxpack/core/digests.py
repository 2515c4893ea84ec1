"""Digests of values, files and folders, by which content is told apart."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from onnxpack.core.regular import open_regular

EMPTY = "folder"
"""Stands for the digest of a folder without anything in it."""


def digest(*parts: Any) -> str:
    """Return the SHA-256 of JSON values in their canonical form: sorted keys, no spaces."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(folder: Path) -> dict[str, str]:
    """Map the relative path of every file below a folder to its SHA-256, or of a symlink to ``link:`` and its target.

    A folder without anything in it counts too, since it would be copied into an image.

    Raises:
        OSError: one cannot be read, or is a pipe, a socket or a device.
    """
    found = {}
    for parent, folders, names in os.walk(folder):
        if not folders and not names and Path(parent) != folder:
            found[Path(parent).relative_to(folder).as_posix()] = EMPTY
        # os.walk lists links to folders among the folders, and does not enter them.
        for name in (*names, *(name for name in folders if Path(parent, name).is_symlink())):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            found[relative] = f"link:{path.readlink()}" if path.is_symlink() else digest_file(path)
    return found
