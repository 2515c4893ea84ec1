"""The files that a model and its data are made of, by which a lock knows that one of them changed.

They are found without running anything: those that a spec names, and those that they name in their turn. What code of a
user opens only as it runs is not among them; a build traces that, and makes anew what depends on it.
"""

import os
import posixpath
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onnxpack.bundle.imports import read_code
from onnxpack.cache.remembered import digest_large_file
from onnxpack.core.regular import is_regular, read_regular
from onnxpack.spec.load import SpecFile
from onnxpack.spec.origin import get_file_name, is_url
from onnxpack.spec.part import iterate_files
from onnxpack.spec.parts import list_parts
from onnxpack.spec.traits import frameworks
from onnxpack.spec.trust import iterate_code_references

REMOTE = "remote:"
"""What the names of files begin with that a URL gives."""
EXTERNAL = "#"
"""What stands between an ONNX model and a file of its data, which only the model names."""
_PACKAGE = "__init__.py"
_CODE_LIMIT = 16 * 2**20


@dataclass(frozen=True)
class Source:
    """A file that a spec depends on.

    Attributes:
        field: the path of the field that names it; of a file that came with another one, the other's.
        path: where it is; None for what a URL gives.
    """

    field: tuple[str | int, ...]
    path: Path | None


@dataclass
class Sources:
    """All files that a spec depends on by their names, and the packages that its code imports.

    Attributes:
        files: by path relative to the spec's folder, or by ``remote:`` and the name of the file.
        packages: the top-level names that the code imports and that are no files of the project.
    """

    files: dict[str, Source] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)


def find_sources(file: SpecFile) -> Sources:
    """Find the files that a spec names, the parts of models of several files, and the modules that its code imports."""
    found = Sources()
    is_folder = bool(frameworks()[file.spec.model.framework].folder)
    for place, name in iterate_files(file):
        if place == ("model", "weights") and file.spec.model.weights_file is None:
            continue  # the word `none`
        if is_url(name):
            found.files.setdefault(REMOTE + get_file_name(name), Source(place, None))
            continue
        path = file.folder / name
        if is_folder and place == ("model", "path") and not is_regular(path):
            continue  # not every folder has each of the files that its framework knows
        for part in (path, *list_parts(path)):
            _add(found, file, part, place)
        if path.suffix == ".py":
            _add_imports(found, file, _Module(path.stem, path, path.parent), place)
    for place, reference in iterate_code_references(file.spec):
        module = reference.partition(":")[0]
        if not module.endswith(".py"):
            _add_module(found, file, module, file.folder, place)
    return found


def digest_source(file: SpecFile, source: Source) -> str:
    """Return the SHA-256 of a source: of what a URL gives, the one that the spec has.

    Raises:
        OSError: it cannot be read.
    """
    return digest_large_file(source.path) if source.path else str(file.spec.model.sha256)


def name_source(file: SpecFile, path: Path) -> str:
    """Return the name of a file in a lock: its path from the spec's folder."""
    return posixpath.normpath(os.path.relpath(path, file.folder))


def name_external(file: SpecFile, location: str) -> str:
    """Return the name in a lock of data that the spec's ONNX model keeps in a file of its own."""
    return f"{posixpath.normpath(str(file.spec.model.path))}{EXTERNAL}{location}"


def locate_external(file: SpecFile, name: str) -> Source | None:
    """Return the source of such a name; None if it is none, or leads out of the work tree."""
    model, _, location = name.partition(EXTERNAL)
    if not location or name != name_external(file, location):
        return None
    path = (file.folder / model).parent / location
    return Source(("model", "path"), path) if path.resolve().is_relative_to(file.root) else None


def _add(found: Sources, file: SpecFile, path: Path, place: tuple[str | int, ...]) -> bool:
    """Add a file; return whether it is new."""
    name = name_source(file, path)
    if name in found.files:
        return False
    found.files[name] = Source(place, path)
    return True


def _add_imports(found: Sources, file: SpecFile, module: "_Module", place: tuple[str | int, ...]) -> None:
    """Add the modules of the project that a module imports, and those that they import in their turn."""
    path = module.path
    try:
        source = read_regular(path.resolve(), _CODE_LIMIT)
        code = read_code(module.name, source, is_package=path.name == _PACKAGE)
    except (OSError, ValueError, SyntaxError, RecursionError):
        return  # the export tells it
    for name in dict.fromkeys(name for block in code.blocks for name in block.modules):
        # As worker.user_code lets them be found: beside the file, then beside the spec.
        if not any(_add_module(found, file, name, folder, place) for folder in (module.folder, file.folder)):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names:
                found.packages.add(top)


def _add_module(found: Sources, file: SpecFile, name: str, folder: Path, place: tuple[str | int, ...]) -> bool:
    """Add the module ``name`` below a folder, with the packages around it; return whether there is one."""
    modules = list(_iterate_modules(name, folder, file.root))
    for module in modules:
        if _add(found, file, module.path, place):
            _add_imports(found, file, module, place)
    return bool(modules)


def _iterate_modules(name: str, folder: Path, root: Path) -> Iterator["_Module"]:
    """Yield the modules of a dotted name, the outermost first; what follows the last is an attribute."""
    place, parts = folder, name.split(".")
    for number, part in enumerate(parts, 1):
        place = place / part
        own = next((path for path in (place / _PACKAGE, place.with_suffix(".py")) if is_regular(path)), None)
        if own is None and not place.is_dir():
            return
        if own and own.resolve().is_relative_to(root):
            yield _Module(".".join(parts[:number]), own, folder)


@dataclass(frozen=True)
class _Module:
    """A file of code: its dotted name, and the folder that this name is relative to."""

    name: str
    path: Path
    folder: Path
