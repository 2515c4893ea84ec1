"""Compile the modules that a start imports; the base image's own Python runs this, by ``python3 -I -c``.

``SOURCES RESULT FOLDER ROOT…``: a tar of the Python files that will be below ``FOLDER`` of the image, the tar to write,
and the names of modules to begin with. Those are compiled, and all that they import at their top level, from the first
tar and from the base; without a ``ROOT`` it is the files of the first tar alone. The names in the second tar are paths
in the image. If the image's root is not ``/`` here, ``ONNXPACK_ROOT`` says where.
"""

import _imp
import ast
import io
import marshal
import os
import sys
import tarfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path

_FALSE = (
    "TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'", "sys.platform == 'win32'", "os.name == 'nt'",
)  # fmt: skip
"""Conditions of modules as ``ast.unparse`` writes them; one that is overlooked costs some bytes."""
ROOT_VARIABLE = "ONNXPACK_ROOT"
_UNCHECKED, _CHECKED = 0b01, 0b11
"""The flags of PEP 552: whether an import compares the source's hash with the one that was compiled."""


@dataclass(frozen=True)
class Source:
    """A module's source: its path in the image, and whether the base has it."""

    name: str
    path: Path
    is_package: bool
    text: bytes
    of_base: bool


class Finder:
    """Finds modules in the tar, then in the base, as an import in the image does."""

    def __init__(self, files: dict[str, bytes], folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._own = {name.partition("/")[0].removesuffix(".py") for name in files}

    def find(self, name: str) -> Source | None:
        """Return the source of a module; None for one that has none, or that does not exist."""
        stem = name.replace(".", "/")
        for relative, is_package in ((f"{stem}/__init__.py", True), (f"{stem}.py", False)):
            if name.partition(".")[0] in self._own:
                if relative in self._files:
                    return Source(name, self._folder / relative, is_package, self._files[relative], of_base=False)
                continue
            for place in sys.path:
                path = Path(place, relative)
                if path.is_file():
                    return Source(name, hide_root(path), is_package, path.read_bytes(), of_base=True)
        return None


def main(arguments: list[str]) -> None:
    """Read the sources, compile, and write the result."""
    warnings.simplefilter("ignore")  # of other people's code
    sources, result, folder, *roots = arguments
    files = read_sources(sources)
    chosen = walk(Finder(files, Path(folder)), roots) if roots else list_all(files, Path(folder))
    with tarfile.open(result, "w") as archive:
        for path, data in sorted(compile_all(chosen)):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def read_sources(path: str) -> dict[str, bytes]:
    """Read the files of a tar, by name."""
    with tarfile.open(path) as archive:
        return {member.name: stream.read() for member in archive if (stream := archive.extractfile(member))}


def list_all(files: dict[str, bytes], folder: Path) -> Iterator[Source]:
    """List every file of the tar."""
    for name, text in sorted(files.items()):
        yield Source(name, folder / name, False, text, of_base=False)


def walk(finder: Finder, roots: Iterable[str]) -> list[Source]:
    """Return the roots and all modules that they import at their top level, by name."""
    found: dict[str, Source | None] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = source = finder.find(name)
            waiting += [*list_imports(source), *list_parents(name)] if source else []
    return [source for _, source in sorted(found.items()) if source]


def list_parents(name: str) -> list[str]:
    """List the packages around a module."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def list_imports(source: Source) -> Iterator[str]:
    """List the names that may be modules in the import statements that run when the module is imported."""
    try:
        tree = ast.parse(source.text)
    except SyntaxError:
        return  # its import fails as well
    for node in list_statements(tree.body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = source.name.split(".")
            package = parts[: len(parts) - node.level + source.is_package] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def list_statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """List statements and those inside them, but none that run later: of functions, for type checkers and scripts."""
    for node in body:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and is_later(node.test):
            yield from list_statements(node.orelse)
            continue
        for field in ("body", "orelse", "finalbody"):
            yield from list_statements(getattr(node, field, ()))
        for handler in getattr(node, "handlers", ()):
            yield from list_statements(handler.body)


def is_later(test: ast.expr) -> bool:
    """Return whether a condition is false in an import on Linux, as far as that is plain to see."""
    return ast.unparse(test) in _FALSE


def hide_root(path: Path) -> Path:
    """Return what a path of this process is in the image."""
    root = os.environ.get(ROOT_VARIABLE, "/")
    return Path("/", path.relative_to(root)) if path.is_relative_to(root) else path


def show_root(path: Path) -> Path:
    """Return where a path of the image is for this process."""
    return Path(os.environ.get(ROOT_VARIABLE, "/"), *path.parts[1:])


def compile_all(sources: Iterable[Source]) -> Iterator[tuple[str, bytes]]:
    """Compile modules; give the path of each compiled file, and its bytes."""
    for source in sources:
        if source.of_base and (_imp.is_frozen(source.name) or source.name.startswith("importlib._bootstrap")):
            continue  # the interpreter has it built in
        # A link in front of it would become a folder in a layer.
        place = hide_root(show_root(source.path.parent).resolve()) if source.of_base else source.path.parent
        path = Path(cache_from_source(str(place / source.path.name), optimization=""))
        if source.of_base and show_root(path).exists():
            continue  # bases that have theirs keep them
        try:
            code = compile(source.text, str(source.path), "exec", dont_inherit=True, optimize=0)
        except SyntaxError:
            continue  # its import fails as well
        # The base may be replaced by a newer one of its name, whose sources are others.
        flags = _CHECKED if source.of_base else _UNCHECKED
        yield (
            str(path).lstrip("/"),
            MAGIC_NUMBER + flags.to_bytes(4, "little") + source_hash(source.text) + marshal.dumps(code),
        )


if __name__ == "__main__":
    main(sys.argv[1:])
