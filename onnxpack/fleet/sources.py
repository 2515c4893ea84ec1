"""The files that a build on another machine needs: those that the spec names, and those that its code may read."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from onnxpack.bundle.lock import lock_path
from onnxpack.core.errors import Problem, SpecError
from onnxpack.core.regular import is_regular
from onnxpack.core.text import format_bytes
from onnxpack.spec.load import SpecFile, to_plain
from onnxpack.spec.origin import is_code, is_url
from onnxpack.spec.part import list_named_files
from onnxpack.spec.traits import frameworks

MOST_FILES, MOST_BYTES = 20_000, 16 * 10**9
"""How much one job may bring along: more is a folder that nobody meant."""
_GIT_SECONDS = 60.0
_SKIPPED = ("__pycache__", "node_modules")


def list_sources(file: SpecFile, output: Path) -> list[tuple[str, Path]]:
    """Return the files that a build of a spec may read, sorted, with their names in the work tree.

    These are the spec with what it extends, its lock, and what it names; the files beside a model's own file; and, if
    the spec names code, all that Git knows in the spec's folder and every module of Python that it knows in the work
    tree. Nothing below ``output`` is among them.

    Raises:
        SpecError: there are too many, or they are too large.
    """
    spec = file.spec
    found = {
        file.path,
        lock_path(file.path),
        *map(Path, file.layers),
        *map(file.resolve, list_named_files(file)),
    }
    is_file = not frameworks()[spec.model.framework].folder
    if spec.model.path and is_file and not is_url(spec.model.path):  # external data, parts, a SavedModel
        found.update(_walk(file.resolve(spec.model.path).parent))
    if _names_code(spec):
        found.update(
            path for path in _list_known(file.root) if path.suffix == ".py" or path.is_relative_to(file.folder)
        )
    plain = {Path(os.path.normpath(path)) for path in found}
    inside = (path for path in plain if path.is_relative_to(file.root) and not path.is_relative_to(output))
    kept = sorted((path.relative_to(file.root).as_posix(), path) for path in inside if is_regular(path))
    _require_bounded(file, kept)
    return kept


def _names_code(spec: Any) -> bool:
    """Return whether any text of the spec is a reference to code."""
    return any(is_code(text) for text in _iterate_texts(to_plain(spec)))


def _iterate_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _iterate_texts(item)


@cache
def _list_known(root: Path) -> tuple[Path, ...]:
    """Return the files of a work tree that Git tracks or would add; those that are not hidden where there is no Git."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_GIT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return tuple(_walk(root))
    return tuple(root / os.fsdecode(name) for name in done.stdout.split(b"\0") if name)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _require_bounded(file: SpecFile, found: Iterable[tuple[str, Path]]) -> None:
    sizes = [path.stat().st_size for _, path in found]
    if len(sizes) > MOST_FILES or sum(sizes) > MOST_BYTES:
        text = f"{len(sizes)} files with {format_bytes(sum(sizes))} would be sent with this spec"
        hint = (
            f"{MOST_FILES} with {format_bytes(MOST_BYTES)} may be: give the spec and its model a folder of their own, "
            "and let .gitignore name what no build reads"
        )
        raise SpecError(Problem(text, hint, file.where()))
