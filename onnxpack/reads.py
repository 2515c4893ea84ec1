"""What an export read: the files and distributions that its key is made of.

Only the export itself can know which modules a factory imports and which files it opens, so each export leaves a list
under the spec's own digest, as a compiler leaves a dependency file. The key is the digest of that list's contents now.
"""

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from onnxpack.errors import SourceError
from onnxpack.isolated import pins_of
from onnxpack.spec.load import SpecFile, to_plain
from onnxpack.store import Store, digest, file_digest, tool_digest

_FIELDS = ("model", "inputs", "outputs", "dynamic_axes", "opset", "verify", "preprocess", "postprocess")
"""What the export stage reads of a spec, besides the evaluation's data."""


def remembered(store: Store, file: SpecFile) -> str | None:
    """The export's key as its inputs stand now, or None if this spec was never exported here."""
    try:
        listed = json.loads(_list_of(store, file).read_text())
        return _key(file, listed["files"], _versions(file, listed["distributions"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remember(store: Store, file: SpecFile, files: list[str], distributions: Mapping[str, str], began: int) -> str:
    """Writes the list down and gives the key. ``began`` is when the export started, in nanoseconds.

    Raises:
        SourceError: a file changed while it was read, so that no key would be true.
    """
    changed = [name for name in files if _changed_since(file.root / name, began)]
    if changed:
        raise SourceError(f"'{changed[0]}' changed while it was exported", "build again")
    place = _list_of(store, file)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as stream:
        json.dump({"files": files, "distributions": dict(distributions)}, stream)
    os.replace(stream.name, place)  # noqa: PTH105 - the name is all that there is
    return _key(file, files, _versions(file, distributions))


def _list_of(store: Store, file: SpecFile) -> Path:
    return store.root / "reads" / f"{_spec_digest(file)}.json"


def _spec_digest(file: SpecFile) -> str:
    place = file.path.parent.relative_to(file.root).as_posix()
    fields = {name: to_plain(getattr(file.spec, name)) for name in _FIELDS}
    evaluation = file.spec.evaluation
    fields["evaluation"] = [evaluation.data, evaluation.labels] if evaluation else None
    return digest("export", tool_digest(), platform.python_version(), platform.machine(), place, fields)


def _key(file: SpecFile, files: list[str], versions: list[tuple[str, str]]) -> str:
    contents = [[name, file_digest(path) if (path := file.root / name).is_file() else "absent"] for name in files]
    return digest(_spec_digest(file), contents, versions)


def _versions(file: SpecFile, distributions: Mapping[str, str]) -> list[tuple[str, str]]:
    """Those that are installed now; an isolated environment stays as it was made, whatever is installed here."""
    isolated = bool(pins_of(file.spec.model))
    return [(name, found if isolated else _version(name)) for name, found in sorted(distributions.items())]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _changed_since(path: Path, began: int) -> bool:
    return path.is_file() and path.stat().st_mtime_ns >= began
