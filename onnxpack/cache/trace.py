"""The trace of a task: the files, folders, modules and packages that it read while it ran, besides its request.

Only the work itself can know which modules a factory imports and which files it opens, so each run leaves a trace, as a
compiler leaves a dependency file. The same request gives the same result as long as all of a trace is as it was.
"""

import contextlib
import importlib
import importlib.util
import os
import shutil
import site
import stat
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from onnxpack.cache import changes
from onnxpack.cache.changes import (
    ABSENT,
    Listings,
    State,
    digest_importable,
    digest_listing,
    file_state,
    list_importable,
    list_names,
)
from onnxpack.cache.remembered import digest_large_file
from onnxpack.core.digests import digest_file
from onnxpack.core.errors import SourceError
from onnxpack.core.package_names import normalize_name
from onnxpack.core.scratch import is_working_name

_WRITES = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
PACKAGE = Path(__file__).resolve().parent.parent
"""The folder of this package."""
_SYSTEM = ("/proc", "/sys", "/dev", "/run", "/etc", "/usr", "/lib", "/bin", "/sbin", "/var")
"""The machine's own files: they are read by libraries at every start and say nothing about a model."""
_IMPORTERS = ("<frozen importlib", f"{Path(importlib.__file__).parent}/", __file__)
"""Where the code of the import system is, and of what reads the metadata of installed packages, as this module does."""
_LOOKING = changes.__file__
"""Where folders are listed to see whether they changed."""
_FILE_CLOCK = 5
"""CLOCK_REALTIME_COARSE of linux/time.h, which the times of files are taken from; it is a few milliseconds behind."""
_METADATA = ".dist-info"


@dataclass(frozen=True)
class Trace:
    """Digests of all that a task read; paths below the work tree are relative to it, others absolute."""

    files: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    """The folders that were listed, with the digest of the names in them."""
    imports: dict[str, str] = field(default_factory=dict)
    """The folders of the work tree that were searched for modules, with the digest of the modules in them."""
    modules: dict[str, str] = field(default_factory=dict)
    """This package's own modules that were imported, with the digests of their source."""
    distributions: dict[str, str] = field(default_factory=dict)
    """The installed distributions that were imported, with their versions."""
    isolated: bool = False
    """Whether the distributions are those of an isolated environment, which never changes."""

    def holds(self, root: Path) -> bool:
        """Return whether all that was read is unchanged; ``root`` is the work tree."""
        return (
            all(digest_module(name) == known for name, known in self.modules.items())
            and (self.isolated or all(find_version(name) == known for name, known in self.distributions.items()))
            and all(digest_content(root / name) == known for name, known in self.files.items())
            and all(digest_listing(root / name) == known for name, known in self.folders.items())
            and all(digest_importable(root / name) == known for name, known in self.imports.items())
        )

    def is_modest(self) -> bool:
        """Return whether it names no files that are the machine's own, nor any by a way out of the work tree.

        No recorder notes such files, and some of them have no end.
        """
        names = (*self.files, *self.folders, *self.imports)
        return all(_is_modest(name) for name in names)


class Recorder:
    """Records what this process reads from its creation on, by an audit hook of Python."""

    def __init__(self, root: Path, ignored: Iterable[Path]) -> None:
        """Start to record; ``root`` is the work tree, and what is below ``ignored`` belongs to the build."""
        installed = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
        # A virtual environment may lie inside the work tree, and the work tree inside /usr, a prefix, or /var.
        prefixes = (path for path in (Path(sys.prefix), Path(sys.base_prefix)) if not _is_below(root, path))
        places = (*map(Path, installed), Path(site.getusersitepackages()), *prefixes, PACKAGE, *ignored)
        self._base = f"{root.resolve()}/"
        # A file is opened by the name that is known of its place, which may be a link, as an environment's folder is.
        self._own = tuple(f"{name}/" for path in places for name in {os.path.abspath(path), str(path.resolve())})  # noqa: PTH100
        self._system = tuple(f"{place}/" for place in _SYSTEM)
        self._files: dict[str, State | None] = {}
        self._folders = Listings(list_names)
        self._imports = Listings(list_importable)
        self._written: set[str] = set()
        self._began = time.clock_gettime_ns(_FILE_CLOCK)
        sys.addaudithook(self._hear)
        importlib.invalidate_caches()  # folders that were listed before are listed again, and heard

    def trace(self, isolated: bool) -> Trace:
        """Return the digests of all that was read.

        The distributions are listed for an isolated environment only; those of this one the build knows itself.

        Raises:
            SourceError: a file changed meanwhile, so that no digest would be true.
        """
        changed = [
            path for path, state in self._files.items()
            if file_state(path) != state or _has_changed(Path(path), self._began)
        ]  # fmt: skip
        inside = [path for path in changed if path.startswith(self._base)]
        if inside:
            raise SourceError(f"'{self._make_relative(inside[0])}' changed while it was read", "run the build again")
        # What changed elsewhere, a framework wrote for itself, natively and so unseen: a cache, a temporary file. What
        # is not there is one of these too, or a setting that nobody made, and would tie a key to this machine.
        lasting = {path for path in self._files if path.startswith(self._base) or os.path.exists(path)}  # noqa: PTH110
        files = sorted(lasting - set(changed))
        return Trace(
            files={self._make_relative(path): digest_content(Path(path), digest_file) for path in files},
            folders={self._make_relative(path): known for path, known in self._folders.digests(self._written).items()},
            imports={self._make_relative(path): known for path, known in self._imports.digests(self._written).items()},
            modules={name: digest_module(name) for name in sorted(_list_own_modules())},
            distributions=find_distributions(list_imported_packages()) if isolated else {},
            isolated=isolated,
        )

    def expect(self, path: Path) -> None:
        """Note a file that is about to be read, maybe by a library that Python does not hear."""
        self._note_file(os.fspath(path))

    def is_input(self, given: str) -> bool:
        """Return whether a file would be noted: it is not the build's own, installed, or the machine's."""
        return self._resolve_input(given) is not None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            # What removes or copies a tree opens names relative to a folder that the event does not tell.
            if arguments[1] is not None or sys._getframe(1).f_code.co_filename != shutil.__file__:
                self._hear_open(arguments)
        elif event == "import" and arguments[1]:  # a compiled module, which is opened by no Python code
            self._note_file(arguments[1])
        elif event == "ctypes.dlopen" and isinstance(arguments[0], str) and "/" in arguments[0]:
            self._note_file(arguments[0])
        elif event in ("os.listdir", "os.scandir"):
            who = sys._getframe(1).f_code.co_filename
            path = None if who == _LOOKING else self._resolve_input("." if arguments[0] is None else arguments[0])
            if path and not who.startswith(_IMPORTERS):
                self._folders.note(path, self._written)
            # Which module an import found, the open file says; that there was none of a name, only the listing can.
            elif path and f"{path}/".startswith(self._base):
                self._imports.note(path, self._written)

    def _hear_open(self, arguments: tuple[Any, ...]) -> None:
        path = self._resolve_input(arguments[0])
        if path is None:
            return
        if arguments[2] & _WRITES:
            self._written.add(path)
        else:
            self._note(path)

    def _note_file(self, given: Any) -> None:
        path = self._resolve_input(given)
        if path is not None:
            self._note(path)

    def _note(self, path: str) -> None:
        if path not in self._written and path not in self._files:  # what this process wrote itself is no input
            self._files[path] = file_state(path)

    def _resolve_input(self, given: Any) -> str | None:
        """Return the absolute path, or None if the file belongs to the build, a package or the machine."""
        if not isinstance(given, str | bytes | os.PathLike):
            return None
        path = os.path.normpath(os.path.abspath(os.fsdecode(given)))  # noqa: PTH100 - a hook must be quick
        if path.endswith(".pyc") and "/__pycache__/" in path:
            path = importlib.util.source_from_cache(path)
        if "/.onnxpack-" in path and any(map(is_working_name, path.split("/"))):
            return None  # another build's, beside its outputs
        place = f"{path}/"  # a folder itself is like all that is in it
        if place.startswith(self._own) or (place.startswith(self._system) and not place.startswith(self._base)):
            return None
        return path

    def _make_relative(self, path: str) -> str:
        return (path[len(self._base) :] or ".") if f"{path}/".startswith(self._base) else path


def digest_content(path: Path, digest: Callable[[Path], str] = digest_large_file) -> str:
    """Return the SHA-256 of a regular file, or else ``special`` or ``absent``.

    A process that runs code of a model passes ``digest_file``, which believes nothing that was remembered.
    """
    try:
        return digest(path) if stat.S_ISREG(path.stat().st_mode) else "special"
    except (OSError, ValueError):  # a trace that somebody wrote may hold names that no file can have
        return ABSENT


@cache
def digest_module(name: str) -> str:
    """Return the SHA-256 of the source of one of this package's modules, whether it is imported or not."""
    path = find_module_source(name)
    return digest_file(path) if path else ABSENT


def find_module_source(name: str) -> Path | None:
    """Return the file of one of this package's modules; None if there is none of this name."""
    parts = name.split(".")[1:]
    if not all(part.isidentifier() for part in parts):
        return None
    place = PACKAGE.joinpath(*parts)
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def _list_own_modules() -> list[str]:
    """Return the names of onnxpack's modules that are imported; those of tests and plugins are files like any other."""
    return [name for name in sys.modules if name == "onnxpack" or name.startswith("onnxpack.")]


@cache
def find_package_owners() -> dict[str, tuple[str, ...]]:
    """Map each importable package to its distributions; the first call takes a quarter of a second."""
    return {package: tuple(names) for package, names in packages_distributions().items()}


def list_imported_packages() -> tuple[str, ...]:
    """Return the names of all top-level packages that this process has imported."""
    return tuple(sorted({name.partition(".")[0] for name in sys.modules}))


def find_distributions(packages: Iterable[str]) -> dict[str, str]:
    """Map the distributions of these packages to their versions."""
    owners = find_package_owners()
    names = {owner for package in packages for owner in owners.get(package, ())} - {"onnxpack"}
    return {name: find_version(name) for name in sorted(names)}


@cache
def find_version(name: str) -> str:
    """Return the version of an installed distribution, else ``absent``.

    It is read from the name of its folder where that is possible: reading the metadata of each one would take longer
    than all else that a build without changes does.
    """
    known = _know_installed().get(normalize_name(name))
    if known is not None:
        return known
    try:
        return version(name)  # an egg, or one that is in no folder
    except (PackageNotFoundError, ValueError):  # there is none without a name
        return ABSENT


@cache
def _know_installed() -> dict[str, str]:
    return list_installed()


def list_installed() -> dict[str, str]:
    """Map all distributions with a folder ``NAME-VERSION.dist-info`` to their versions.

    The first one on the path counts, as for the import system.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name.endswith(_METADATA):
                    name, _, known = entry.name.removesuffix(_METADATA).rpartition("-")
                    found.setdefault(normalize_name(name), known)
    return found


def _is_modest(name: str) -> bool:
    plain = os.path.normpath(name) == name and name.partition("/")[0] != ".." and not name.startswith("//")
    return plain and not name.startswith(tuple(f"{place}/" for place in _SYSTEM))


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _has_changed(path: Path, began: int) -> bool:
    """Return whether a file was written or replaced since the time ``began``, in nanoseconds."""
    try:
        status = path.stat()
    except OSError:
        return False
    now = time.time_ns()  # a time in the future says nothing, so it does not count
    return stat.S_ISREG(status.st_mode) and any(began <= at <= now for at in (status.st_mtime_ns, status.st_ctime_ns))
