"""What a task read while it ran, besides its request: files, listed folders, imported modules and their packages.

Only the work itself can know which modules a factory imports and which files it opens, so each run leaves a trace, as a
compiler leaves a dependency file. The same request gives the same result as long as all of a trace is as it was.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import json
import os
import shutil
import stat
import sys
import sysconfig
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from onnxpack.digests import large_file_digest
from onnxpack.errors import SourceError
from onnxpack.package_names import normalize_name
from onnxpack.scratch import is_working_name
from onnxpack.store import file_digest

_WRITES = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_PACKAGE = Path(__file__).resolve().parent.parent
_SYSTEM = ("/proc", "/sys", "/dev", "/run", "/etc", "/usr", "/lib", "/bin", "/sbin", "/var")
"""The machine's own files: they are read by libraries at every start and say nothing about a model."""
_IMPORTERS = ("<frozen importlib", f"{Path(importlib.__file__).parent}/", __file__)
"""Where the code of the import system is, and of what reads the metadata of installed packages, as this module does."""
_FILE_CLOCK = 5
"""CLOCK_REALTIME_COARSE of linux/time.h, which the times of files are taken from; it is a few milliseconds behind."""
_ABSENT = "absent"
_METADATA = ".dist-info"


@dataclass(frozen=True)
class Trace:
    """Digests of what was read. Files below the work tree are relative to it, others are absolute."""

    files: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    """Folders that were listed, with the digest of the names in them."""
    imports: dict[str, str] = field(default_factory=dict)
    """Folders of the work tree that modules were looked for in, with the digest of the modules that are there."""
    modules: dict[str, str] = field(default_factory=dict)
    """This package's own modules that were imported, with the digests of their source."""
    distributions: dict[str, str] = field(default_factory=dict)
    """The installed distributions that were imported, with their versions."""
    isolated: bool = False
    """The distributions are those of an isolated environment, which stays as it was made."""

    def holds(self, root: Path) -> bool:
        """Return whether all of it is as it was; ``root`` is the work tree."""
        return (
            all(module_digest(name) == known for name, known in self.modules.items())
            and (self.isolated or all(_version(name) == known for name, known in self.distributions.items()))
            and all(content_digest(root / name) == known for name, known in self.files.items())
            and all(listing_digest(root / name) == known for name, known in self.folders.items())
            and all(importable_digest(root / name) == known for name, known in self.imports.items())
        )


class Recorder:
    """Notes what this process reads from now on."""

    def __init__(self, root: Path, ignored: Iterable[Path]) -> None:
        """``root`` is the work tree; what lies below ``ignored`` is the build's own."""
        installed = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
        # A virtual environment may lie inside the work tree, and the work tree inside /usr, a prefix, or /var.
        prefixes = (path for path in (Path(sys.prefix), Path(sys.base_prefix)) if not _is_below(root, path))
        places = (*map(Path, installed), *prefixes, _PACKAGE, *ignored)
        self._base = f"{root.resolve()}/"
        self._own = tuple(f"{path.resolve()}/" for path in places)
        self._system = tuple(f"{place}/" for place in _SYSTEM)
        self._files: dict[str, None] = {}
        self._folders: dict[str, None] = {}
        self._imports: dict[str, None] = {}
        self._written: set[str] = set()
        self._began = time.clock_gettime_ns(_FILE_CLOCK)
        sys.addaudithook(self._hear)
        importlib.invalidate_caches()  # folders that were listed before are listed again, and heard

    def trace(self, isolated: bool) -> Trace:
        """Return the digests of all that was read.

        The distributions are those of an isolated environment alone: of this one the build itself knows them.

        Raises:
            SourceError: a file changed meanwhile, so that no digest would be true.
        """
        changed = [path for path in self._files if _changed_since(Path(path), self._began)]
        inside = [path for path in changed if path.startswith(self._base)]
        if inside:
            raise SourceError(f"'{self._relative(inside[0])}' changed while it was read", "build again")
        # What changed elsewhere, a framework wrote for itself, natively and so unseen: a cache, a temporary file. What
        # is not there is one of these too, or a setting that nobody made, and would tie a key to this machine.
        lasting = {path for path in self._files if path.startswith(self._base) or os.path.exists(path)}  # noqa: PTH110
        files = sorted(lasting - set(changed))
        return Trace(
            files={self._relative(path): content_digest(Path(path)) for path in files},
            folders={self._relative(path): listing_digest(Path(path)) for path in sorted(self._folders)},
            imports={self._relative(path): importable_digest(Path(path)) for path in sorted(self._imports)},
            modules={name: module_digest(name) for name in sorted(_own_modules())},
            distributions=imported_distributions(imported_packages()) if isolated else {},
            isolated=isolated,
        )

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            # What removes or copies a tree opens names relative to a folder that the event does not tell.
            if arguments[1] is not None or sys._getframe(1).f_code.co_filename != shutil.__file__:
                self._hear_open(arguments)
        elif event in ("os.listdir", "os.scandir"):
            path = self._outside("." if arguments[0] is None else arguments[0])
            if path and not sys._getframe(1).f_code.co_filename.startswith(_IMPORTERS):
                self._folders[path] = None
            # Which module an import found, the open file says; that there was none of a name, only the listing can.
            elif path and f"{path}/".startswith(self._base):
                self._imports[path] = None

    def _hear_open(self, arguments: tuple[Any, ...]) -> None:
        path = self._outside(arguments[0])
        if path is None:
            return
        if arguments[2] & _WRITES:
            self._written.add(path)
        elif path not in self._written:  # what this process wrote itself is no input
            self._files[path] = None

    def _outside(self, given: Any) -> str | None:
        """Return the absolute path, or None if it is the build's own, installed, or the machine's."""
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

    def _relative(self, path: str) -> str:
        return (path[len(self._base) :] or ".") if f"{path}/".startswith(self._base) else path


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a regular file, or a word for what is no such file."""
    try:
        return large_file_digest(path) if stat.S_ISREG(path.stat().st_mode) else "special"
    except (OSError, ValueError):  # a trace that somebody wrote may hold names that no file can have
        return _ABSENT


def listing_digest(path: Path) -> str:
    """Return the SHA-256 of the sorted names in a folder, without what builds work in at this moment."""
    try:
        names = sorted(name for name in os.listdir(path) if not is_working_name(name))  # noqa: PTH208 - names count
    except (OSError, ValueError):
        return _ABSENT
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


@cache
def module_digest(name: str) -> str:
    """Return the SHA-256 of the source of one of this package's modules, whether it is imported or not."""
    path = module_source(name)
    return file_digest(path) if path else _ABSENT


def module_source(name: str) -> Path | None:
    """Return the file of one of this package's modules; None if there is none of this name."""
    parts = name.split(".")[1:]
    if not all(part.isidentifier() for part in parts):
        return None
    place = _PACKAGE.joinpath(*parts)
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def importable_digest(path: Path) -> str:
    """Return the SHA-256 of the sorted names of the modules and packages in a folder."""
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if _is_importable(entry))
    except (OSError, ValueError):
        return _ABSENT
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def _is_importable(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith((".py", ".so")) or Path(entry.path, "__init__.py").is_file()


def _own_modules() -> list[str]:
    """Return the names of this package's modules that are imported here; those of tests and plugins stand elsewhere."""
    return [name for name in sys.modules if name == "onnxpack" or name.startswith("onnxpack.")]


@cache
def package_owners() -> dict[str, tuple[str, ...]]:
    """Return the distributions that give each importable package; it takes a quarter of a second to find out."""
    return {package: tuple(names) for package, names in packages_distributions().items()}


def imported_packages() -> tuple[str, ...]:
    """Return the names of all top packages that are imported here."""
    return tuple(sorted({name.partition(".")[0] for name in sys.modules}))


def imported_distributions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the distributions that give these packages, by their names."""
    owners = package_owners()
    names = {owner for package in packages for owner in owners.get(package, ())} - {"onnxpack"}
    return {name: _version(name) for name in sorted(names)}


@cache
def _version(name: str) -> str:
    """Return the version of an installed distribution, by the name of its folder where there is one.

    Reading the metadata of each one would take longer than all else that a build without changes does.
    """
    known = _installed().get(normalize_name(name))
    if known is not None:
        return known
    try:
        return version(name)  # an egg, or one that is in no folder
    except (PackageNotFoundError, ValueError):  # there is none without a name
        return _ABSENT


@cache
def _installed() -> dict[str, str]:
    """Return the versions of all distributions whose metadata lies in a folder ``NAME-VERSION.dist-info``, by name.

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


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _changed_since(path: Path, began: int) -> bool:
    """Return whether a file was written or replaced since a time; one that claims to be of the future was not."""
    try:
        status = path.stat()
    except OSError:
        return False
    now = time.time_ns()
    return stat.S_ISREG(status.st_mode) and any(began <= at <= now for at in (status.st_mtime_ns, status.st_ctime_ns))
