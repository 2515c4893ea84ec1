"""Follow imports, links and names through unpacked wheels: which files a start can reach, each with what reaches it."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from onnxpack.bundle.compiler import list_parents
from onnxpack.bundle.imports import Block, read_code
from onnxpack.bundle.layer import Root, Why
from onnxpack.bundle.libraries import is_library, read_needed_libraries, read_words
from onnxpack.core.errors import EngineError

SOURCES = (
    ".py", ".pyi", ".pyx", ".pxd", ".pyc", ".c", ".cpp", ".h", ".hpp", ".f", ".f90", ".a", ".pc", ".cmake", ".build",
    ".typed",
)  # fmt: skip
"""Endings of files that are no data: modules, which are imported, and what compilers and type checkers read."""
OPAQUE = "nvidia/"
"""CUDA's libraries, gigabytes that name no Python; they are kept in any case."""


@dataclass(frozen=True)
class Untaken:
    """An edge that is there and not followed: ``by``, or any file if that is empty, names a module or a file."""

    by: str
    name: str
    reason: str


def find_reached(
    folder: Path,
    files: Sequence[str],
    roots: Iterable[Root],
    untaken: Iterable[Untaken] = (),
    whole: Iterable[str] = (),
) -> dict[str, Why]:
    """Return the files below ``folder`` that the roots reach, with what reaches them, the nearest first.

    Args:
        folder: the unpacked wheels.
        files: the paths of their files, relative to it.
        roots: the names to begin with.
        untaken: edges that are there and not followed.
        whole: files that are kept in any case; what they import is reached as well.

    Raises:
        EngineError: a module that is reached has a syntax that this Python cannot read, so that what it imports is
            not known.
    """
    walk = _Walk(folder, files, untaken)
    for root in roots:
        walk.mention(root.name.split("."))
        walk.follow_import(root.name, Why("imported by", root.user))
    walk.add_whole(whole)
    walk.run()
    return walk.found


class _Walk:
    """The files that were reached, and those whose own edges wait to be followed."""

    def __init__(self, folder: Path, files: Sequence[str], untaken: Iterable[Untaken]) -> None:
        self.found: dict[str, Why] = {}
        self._folder = folder
        self._modules = _index_modules(files)
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for path in files:
            if path.endswith(SOURCES):
                continue
            self._by_name[PurePosixPath(path).name].append(path)
        self._untaken = {(edge.by, edge.name) for edge in untaken}
        self._waiting: deque[str] = deque()
        self._calls: deque[tuple[str, Block]] = deque()
        self._optional: set[str] = set()
        self._mentioned: set[str] = set()
        self._functions: defaultdict[str, list[tuple[str, Block]]] = defaultdict(list)

    def run(self) -> None:
        """Follow all that was reached, until nothing is left: functions after what is loaded anyway."""
        while self._waiting or self._calls:
            if not self._waiting:
                self._follow_block(*self._calls.popleft())
                continue
            path = self._waiting.popleft()
            if path.endswith(".py"):
                self._follow_code(path)
            elif is_library(PurePosixPath(path)):
                self._follow_library(path)

    def add_whole(self, paths: Iterable[str]) -> None:
        """Follow the modules and libraries of packages that are kept whole, and let those stand that cannot be read."""
        for path in paths:
            self._optional.add(path)
            self._reach(path, Why(""))

    def mention(self, words: Iterable[str]) -> None:
        """Note names that are mentioned: functions of these names may run."""
        for word in words:
            if word not in self._mentioned:
                self._mentioned.add(word)
                self._calls.extend(self._functions.pop(word, ()))

    def follow_import(self, name: str, why: Why) -> None:
        """Reach a module and the packages around it; of a name that is none, those that its beginning names."""
        last = name
        while last and last not in self._modules:
            last = last.rpartition(".")[0]
        if not last or any(self._skips(why.by, part) for part in (*list_parents(last), last)):
            return
        path = self._modules[last]
        for parent in list_parents(last):
            if parent in self._modules:
                self._reach(self._modules[parent], Why("the package of", path) if path not in self.found else why)
        self._reach(path, why)

    def _skips(self, by: str, name: str) -> bool:
        return (by, name) in self._untaken or ("", name) in self._untaken

    def _reach(self, path: str, why: Why) -> None:
        if path not in self.found:
            self.found[path] = why
            self._waiting.append(path)

    def _follow_code(self, path: str) -> None:
        name = name_module(path)
        try:
            code = read_code(name, (self._folder / path).read_bytes(), is_package=path.endswith("__init__.py"))
        except (SyntaxError, ValueError) as error:
            if path in self._optional:
                return  # of what users add, some files are templates
            raise EngineError(
                f"cannot tell what {path} imports: {error}",
                "the package may be written for a newer Python than the one that runs onnxpack: use that one",
            ) from None
        for block in code.blocks:
            if not block.function:
                self._follow_block(path, block)
            elif block.function in self._mentioned or path in self._optional:
                self._calls.append((path, block))
            else:
                self._functions[block.function].append((path, block))
        for text in sorted(code.texts):
            self._name_file(text, path)

    def _follow_block(self, path: str, block: Block) -> None:
        how = f"imported in {block.function}() of" if block.function else "imported by"
        for module in block.modules:
            self.follow_import(module, Why(how, path))
        self.mention(sorted(block.names))

    def _follow_library(self, path: str) -> None:
        library = self._folder / path
        for needed in read_needed_libraries(library):
            for other in self._by_name.get(needed, ()):
                self._reach(other, Why("linked by", path))
        if path.startswith(OPAQUE):
            return
        for word in sorted(read_words(library)):
            if "." in word:
                if word in self._modules:
                    self.follow_import(word, Why("imported by", path))
                self._name_file(word, path)
            else:
                self.mention([word])

    def _name_file(self, text: str, path: str) -> None:
        """Reach files of the same package that a text names: libraries that are loaded, and data."""
        package = path.partition("/")[0]
        for other in self._by_name.get(text.rpartition("/")[2], ()):
            if other.partition("/")[0] == package and not self._skips(path, other):
                self._reach(other, Why("named in", path))


def _index_modules(files: Iterable[str]) -> dict[str, str]:
    """Return the files of modules by the modules' names; packages count before modules, those before libraries."""
    found: dict[str, str] = {}
    for path in sorted(files, key=lambda path: (path.endswith(".py"), path.endswith("/__init__.py"), path)):
        if path.endswith((".py", ".so")):
            found[name_module(path)] = path
    return found


def name_module(path: str) -> str:
    """Return the name of a file's module: ``a.b`` for ``a/b.py``, ``a/b/__init__.py`` and ``a/b.cpython-311.so``."""
    pure = PurePosixPath(path)
    parts = [*pure.parent.parts, pure.name.partition(".")[0]]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
