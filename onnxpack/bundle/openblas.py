"""Spares images OpenBLAS: a small library takes its place where it has all that is called of it.

numpy's wheel brings OpenBLAS and the Fortran libraries behind it, a third of all that an image installs. Its extension
modules do not load without, yet neither the modules of an image nor onnxruntime multiply by it.
"""

import shutil
from pathlib import Path

from onnxpack.bundle.blas.build import locate_library, read_digests
from onnxpack.bundle.symbols import Symbols, read_links, read_symbols
from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import EngineError


def find_replacement(platform: str) -> Artifact:
    """Return the library that can take OpenBLAS's place in images for a platform, such as ``linux/amd64``.

    Raises:
        EngineError: this installation lacks it, or has another one. To keep OpenBLAS then is no way out: the image
            would have other digests than one of the same spec that is built elsewhere.
    """
    path = locate_library(platform)
    hint = "install onnxpack again, or run scripts/setup in a checkout"
    try:
        found = Artifact.of(path)
    except OSError:
        raise EngineError(f"this installation of onnxpack lacks the file {path}", hint) from None
    if found.digest != read_digests().get(path.name):
        raise EngineError(f"the file {path} is damaged, or older than the package around it", hint)
    return found


def replace_openblas(folder: Path, replacement: Path) -> str:
    """Put the library ``replacement`` in OpenBLAS's place in a folder of packages; what OpenBLAS alone linked goes.

    It takes OpenBLAS's name, by which the loader finds it. All that counts is read from the files: OpenBLAS is whatever
    defines each symbol of the replacement, and it stays if a library needs another symbol of it.

    Return why OpenBLAS stays; an empty text if it went, or if there is none.

    Raises:
        EngineError: a file that another one links is no shared library.
        OSError: a file cannot be read or replaced.
    """
    ours = read_symbols(replacement)
    links = {path: read_links(path) for path in sorted(folder.rglob("*.so*")) if path.is_file()}
    linked = frozenset[str]().union(*links.values())
    for path in [path for path in links if path.name in linked]:
        theirs = read_symbols(path)
        if ours.defined & theirs.defined:
            users = [user for user, names in links.items() if path.name in names]
            if reason := _explain_need(users, path.name, theirs, ours):
                return reason
            _put(replacement, path)
            remove_unlinked(path, links)
    return ""


def _explain_need(users: list[Path], name: str, theirs: Symbols, ours: Symbols) -> str:
    """Return why the library ``name`` cannot be replaced for those that link it; empty if it can be."""
    if ours.machine != theirs.machine:
        return f"{name} is for {theirs.machine}, and the library that could replace it for {ours.machine}"
    for user in users:
        needed = read_symbols(user)
        if name in needed.versioned:
            return f"{user.name} needs certain versions of the symbols of {name}"
        if lacking := sorted((needed.undefined & theirs.defined) - ours.defined):
            return f"{user.name} needs {lacking[0]} of {name}, which the library that could replace it lacks"
    return ""


def _put(replacement: Path, path: Path) -> None:
    fresh = path.with_name(f".{path.name}")
    shutil.copyfile(replacement, fresh)
    fresh.replace(path)


def remove_unlinked(replaced: Path, links: dict[Path, frozenset[str]]) -> None:
    """Remove the libraries beside a replaced one that it linked, itself or through others, and nothing else does."""
    waiting = links[replaced]
    links[replaced] = frozenset()
    while waiting:
        name, *rest = sorted(waiting)
        waiting = frozenset(rest)
        path = replaced.with_name(name)
        if path in links and not any(name in names for names in links.values()):
            waiting |= links.pop(path)
            path.unlink()
