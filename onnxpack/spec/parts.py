"""The files of a model that has several: an index with its shards, a SavedModel, or a folder of named files."""

import json
import posixpath
from collections.abc import Sequence
from pathlib import Path

from onnxpack.core.regular import is_regular, read_regular

SAVED_MODEL = "saved_model.pb"
"""The file by which a spec names the folder of a SavedModel."""
SHARDS = ".index.json"
"""The ending of a file that says which tensors of a model are in which other file."""
_INDEX_LIMIT = 256 * 2**20  # bytes; the index of a model of 100,000 tensors has 10 MB


def list_parts(path: Path) -> list[Path]:
    """Return the other files of a model of several: the shards of an index, or all in a SavedModel's folder."""
    if path.name == SAVED_MODEL:
        return sorted(part for part in path.parent.rglob("*") if is_regular(part) and part != path)
    if path.name.endswith(SHARDS):
        try:
            named = json.loads(read_regular(path.resolve(), _INDEX_LIMIT))["weight_map"].values()
            return sorted(shard for name in set(named) if is_regular(shard := path.parent / name))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return []  # it is no index, which the export tells
    return []


def list_folder_parts(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the places of the files that make a folder a model: those of these names, and the shards of an index.

    Some need not be there: a model whose folder gets one of them later is another one.
    """
    named = [folder / name for name in names]
    return [*named, *(shard for path in named for shard in list_parts(path))]


def name_folder_parts(folder: Path, name: str, names: Sequence[str]) -> list[str]:
    """Return the names of the same files as a spec would give them that calls the folder ``name``."""
    parts = (path.relative_to(folder).as_posix() for path in list_folder_parts(folder, names))
    return [posixpath.normpath(posixpath.join(name, part)) for part in parts]
