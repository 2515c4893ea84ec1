"""Decide of unpacked wheels which files a runtime layer has, each for a reason, and remove the others.

A file stays if a start can reach it: its module is imported, another library links it, or a file that stays names it.
``reach`` follows these edges from what the image's modules use. Licences and metadata stay besides, and packages that
a user adds stay whole. Nothing here lists what goes, but for the few edges that are there and never taken; tests run
every variant of the generated module on what is left, and see that nothing asks for a file that went.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from onnxpack.bundle.layer import LayerFile, Needs, Why
from onnxpack.bundle.libraries import drop_unmapped, is_library
from onnxpack.bundle.reach import SOURCES, Untaken, find_reached
from onnxpack.core.digests import digest_file
from onnxpack.core.package_names import normalize_name

_PLUGINS = "a module of an image imports the formats that it takes by itself, and opens no others"
UNTAKEN = (
    Untaken("numpy/_pytesttester.py", "numpy.testing", "only numpy.test() imports it, which runs numpy's own tests"),
    Untaken("numpy/_pytesttester.py", "numpy.distutils", "only numpy.test() imports it, which runs numpy's own tests"),
    Untaken("", "grpc/_cython/_credentials/roots.pem", "the certificates of public authorities: a server asks nobody"),
    *(Untaken("PIL/Image.py", f"PIL.{name}ImagePlugin", _PLUGINS) for name in ("Bmp", "Gif", "Jpeg", "Png", "Ppm")),
    Untaken("PIL/Image.py", "PIL.ImageCms", "only for pictures in Lab colours, which no format here has"),
    Untaken("PIL/Image.py", "PIL.ImageQt", "only for windows"),
    Untaken("PIL/Image.py", "PIL.ImageShow", "only for windows"),
)
_NOTES = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json")
"""Files of ``*.dist-info`` that the installer writes: they hold paths and times, so that even their sizes differ."""
_LOCK = ".lock"
_ENTRY_POINTS = "entry_points.txt"
"""It names a package's plug-ins, which its users may look up."""
_LICENCE = re.compile(r"licen[cs]e|copying|notice|copyright", re.IGNORECASE)
_TOOLS = re.compile(r"nvidia/[^/]+/(include|nvvm|lib/pkgconfig)/")
"""Parts of NVIDIA's wheels that compilers use."""
_NVIDIA = "nvidia-"
_INFO = ".dist-info"
_TEXT = Why("a licence")


def prune(folder: Path, needs: Needs) -> tuple[LayerFile, ...]:
    """Remove what no image needs, and what no loader maps of the libraries; return the wheels' files with reasons.

    The installer's own notes go without a word: the listing is the same bytes wherever and whenever it is made.

    Raises:
        EngineError: it cannot be told what a module imports.
    """
    files = explain_files(folder, needs)
    for note in [name for name in _list_files(folder) if _is_note(name)]:
        (folder / note).unlink()
    whole = {name for name, _ in needs.whole}
    found = []
    for file in files:
        path = folder / file.path
        if not file.kept:
            path.unlink()
        # NVIDIA's licence allows its libraries to be passed on as they are.
        elif is_library(path) and file.package not in whole and not file.package.startswith(_NVIDIA):
            file = replace(file, size_bytes=file.size_bytes - drop_unmapped(path))
        found.append(file)
    for path in sorted(folder.rglob("*"), reverse=True):  # what is inside a folder comes before the folder
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return tuple(found)


def refresh_files(folder: Path, files: Iterable[LayerFile]) -> tuple[LayerFile, ...]:
    """Return the files of a layer as they are after OpenBLAS was replaced, and its own libraries went."""
    gone = Why("only OpenBLAS linked it, in whose place there is a small library")
    found = []
    for file in files:
        path = folder / file.path
        if file.kept and path.exists():
            file = replace(file, size_bytes=path.lstat().st_size)
        elif file.kept:
            file = replace(file, kept=False, why=gone)
        found.append(file)
    return tuple(found)


def explain_files(folder: Path, needs: Needs) -> tuple[LayerFile, ...]:
    """Tell of each file of unpacked wheels whether a layer has it, and why."""
    paths = [path for path in _list_files(folder) if not _is_note(path)]
    owners = dict(_read_owners(folder))
    asked = dict(needs.whole)
    whole = [path for path in paths if owners.get(path) in asked and not _explain_installed(path, entry_points=True)]
    found = find_reached(folder, paths, needs.roots, UNTAKEN, whole)
    licences = {digest_file(folder / path) for path in paths if _INFO in path and _LICENCE.search(path)}
    files = []
    for path in paths:
        package = owners.get(path, "")
        if package in asked:
            out = _explain_installed(path, entry_points=True)
            why = Why(out) if out else Why("kept whole, asked for by", asked[package])
        else:
            out = _explain_installed(path, entry_points=False)
            keep = None if out else _explain_kept(path, package, found)
            # A folder with nothing else in it would import as an empty package.
            if keep == _TEXT and digest_file(folder / path) in licences:
                keep, out = None, "a licence that is among its package's metadata too"
            why = keep or Why(out or _explain_left_out(path))
            out = "" if keep else why.how
        files.append(LayerFile(path, package, (folder / path).lstat().st_size, not out, why))
    return tuple(files)


def _list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _is_note(path: str) -> bool:
    """Return whether a file is one that the installer writes beside those of the wheels."""
    pure = PurePosixPath(path)
    return path == _LOCK or (pure.parent.name.endswith(_INFO) and pure.name in _NOTES)


def _read_owners(folder: Path) -> Iterator[tuple[str, str]]:
    """Give each file's distribution, as the distributions' records say it."""
    for record in sorted(folder.glob(f"*{_INFO}/RECORD")):
        package = normalize_name(record.parent.name.removesuffix(_INFO).partition("-")[0])
        with record.open(encoding="utf-8", newline="") as stream:
            yield from ((row[0], package) for row in csv.reader(stream) if row)
        for path in record.parent.rglob("*"):
            yield path.relative_to(folder).as_posix(), package


def _explain_installed(path: str, *, entry_points: bool) -> str:
    """Return why a file goes that an image has no use for, also of a package kept whole; empty if it stays."""
    pure = PurePosixPath(path)
    if pure.parts[0] == "bin":
        return "a command: it names the Python of the machine that built"
    if "__pycache__" in pure.parts:
        return "compiled by another Python than the base's"
    if not entry_points and pure.parent.name.endswith(_INFO) and pure.name == _ENTRY_POINTS:
        return "names commands and plug-ins, which nothing of an image looks up"
    return ""


def _explain_kept(path: str, package: str, found: dict[str, Why]) -> Why | None:
    """Return what keeps a file of a package that the runtime needs; None if nothing does."""
    pure = PurePosixPath(path)
    if pure.parts[0].endswith(_INFO):
        return Why("a package's metadata and licences")
    if pure.suffix in ("", ".md", ".rst", ".txt") and _LICENCE.search(pure.name):
        return _TEXT
    if path in found:
        return found[path]
    if package.startswith(_NVIDIA) and not _TOOLS.match(path) and not path.endswith(SOURCES):
        return Why("CUDA's libraries load each other by names that they put together")
    return None


def _explain_left_out(path: str) -> str:
    for edge in UNTAKEN:
        module = edge.name.replace(".", "/")
        if path in (edge.name, f"{module}.py") or path.startswith(f"{module}/"):
            return edge.reason
    pure = PurePosixPath(path)
    if pure.suffix == ".py" or (is_library(pure) and ".cpython-" in pure.name):
        return "no module that an image loads imports it"
    if is_library(pure):
        return "no library of the layer links or names it"
    if pure.suffix in SOURCES:
        return "only compilers and type checkers read it"
    return "no file of the layer names it"
