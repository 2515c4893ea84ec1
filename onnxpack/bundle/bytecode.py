"""Compiled modules for a context: what is asked of a base image's Python, and where its answer goes.

The bytes of a ``.pyc`` differ between patch releases of one Python version, so the interpreter of the machine that
builds cannot make them. The base image's own one does, and is as fixed as the base is. It also has the sources of the
standard library, which bases leave uncompiled.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxpack.bundle.context import normalise
from onnxpack.bundle.render import MODEL_TREE, RUNTIME_TREE, list_template_imports
from onnxpack.core.errors import GateError

PACKAGES, MODULES = "packages", "modules"
"""What is compiled: the packages that all models share, with the standard library; and the modules of one model."""
_TREES = {PACKAGES: RUNTIME_TREE, MODULES: MODEL_TREE}
_HIDDEN = (
    "concurrent.futures.thread", "datetime", "encodings", "encodings.utf_8", "numpy._core._exceptions", "numpy.dtypes",
    "onnxruntime.capi.build_and_package_info", "sitecustomize", "uuid",
)  # fmt: skip
"""What the interpreter, C code and functions import at a start, so that no import at the top of a module tells it."""
_COMPILED = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*/)+__pycache__/[A-Za-z0-9_.+-]+\.pyc", re.ASCII)
_HINT = "the base image's Python made it: check `image.base`"


@dataclass(frozen=True)
class CompileRequest:
    """Sources to compile by the Python of a base image."""

    base: str
    """The id of the base image."""
    sources: Mapping[str, bytes]
    """The files by their paths below ``folder``."""
    folder: str
    """Where they will be in the image."""
    roots: tuple[str, ...]
    """The modules to begin with; without any all sources are compiled, and nothing of the base."""


@dataclass(frozen=True)
class Bytecode:
    """Compiled modules by their paths in the image."""

    files: Mapping[str, bytes]


def make_request(context: Path, part: str, base: str) -> CompileRequest:
    """Return what is to be compiled of one part of a context: ``PACKAGES`` or ``MODULES``."""
    folder, tree = _TREES[part].folder, _TREES[part].locate(context)
    sources = {path.relative_to(tree).as_posix(): path.read_bytes() for path in sorted(tree.rglob("*.py"))}
    if part == MODULES:
        return CompileRequest(base, sources, folder, ())
    # The same for every model, so that all share the layer.
    packages = {name.partition("/")[0].removesuffix(".py") for name in sources}
    return CompileRequest(base, sources, folder, tuple(sorted({*_HIDDEN, *packages, *list_template_imports()})))


def add_bytecode(context: Path, part: str, compiled: Bytecode) -> None:
    """Put compiled modules into one layer of a context.

    Raises:
        GateError: one is not named as such: it would lie anywhere in the image, or outside of the context.
    """
    layer = context / _TREES[part].path
    for name, data in compiled.files.items():
        if not _COMPILED.fullmatch(name):
            raise GateError(f"the base image's Python compiled a module into {name[:200]!r}", _HINT)
        path = layer / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    normalise(context)
