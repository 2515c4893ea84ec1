"""Spares images OpenBLAS: a small library takes its place where it has all that is called of it.

numpy's wheel brings OpenBLAS and the Fortran libraries behind it, a third of all that an image installs. Its extension
modules do not load without, yet neither the modules of an image nor onnxruntime multiply by it.
"""

import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from onnxpack.bundle.blas.build import locate_library, read_digests
from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import EngineError, flatten_words

_SYMBOL = struct.Struct("<I2xH16x")
"""An ``Elf64_Sym``: where its name is, and its section, 0 for a symbol that is defined elsewhere."""
_VERSION_NEED = struct.Struct("<4xI4xI")
"""An ``Elf64_Verneed``: where the name of the library is, and how far off the next entry is, 0 after the last."""
_DAMAGED = (ELFError, struct.error, ValueError, AssertionError, StopIteration, OSError)
"""What is raised where an ELF file points nowhere."""


@dataclass(frozen=True)
class Symbols:
    """What a shared library offers to the loader, and what it asks of it."""

    machine: str
    defined: frozenset[str]
    undefined: frozenset[str]
    versioned: frozenset[str]
    """The libraries of which it needs symbols of a certain version."""


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
            _remove_unlinked(path, links)
    return ""


def read_links(path: Path) -> frozenset[str]:
    """Return the names of the libraries that a file links; none for a file that is no whole shared library."""
    try:
        with path.open("rb") as stream:
            return frozenset(tag.needed for tag in _find_dynamic(ELFFile(stream)).iter_tags("DT_NEEDED"))
    except _DAMAGED:
        return frozenset()


def read_symbols(path: Path) -> Symbols:
    """Read what a shared library offers and asks.

    Raises:
        EngineError: it is none, or not whole.
    """
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            dynamic = _find_dynamic(elf)
            # Unpacked here: for OpenBLAS's 11,000 symbols pyelftools takes seconds.
            table = _read_at(elf, dynamic, "DT_SYMTAB", dynamic.num_symbols() * _SYMBOL.size)
            names = _read_at(elf, dynamic, "DT_STRTAB", next(dynamic.iter_tags("DT_STRSZ"))["d_val"])
            defined, undefined = set[str](), set[str]()
            for name, section in _SYMBOL.iter_unpack(table):
                (defined if section else undefined).add(names[name : names.index(b"\0", name)].decode())
            return Symbols(elf["e_machine"], frozenset(defined), frozenset(undefined), _read_versioned(elf, dynamic))
    except _DAMAGED as error:
        message = f"{path.name} is no shared library, or not whole: {flatten_words(error, 200)}"
        raise EngineError(message, "run the build again") from None


def _read_at(elf: ELFFile, dynamic: Any, tag: str, size: int) -> bytes:
    """Read ``size`` bytes, or what the file has of them, from where an entry of the dynamic segment points."""
    elf.stream.seek(next(elf.address_offsets(next(dynamic.iter_tags(tag))["d_ptr"])))
    return bytes(elf.stream.read(min(size, elf.stream_len)))


def _find_dynamic(elf: ELFFile) -> Any:
    """Return the segment that the loader reads; the table of sections is for debuggers, and may have been cut off."""
    for segment in elf.iter_segments("PT_DYNAMIC"):
        return segment
    raise ELFError("it has no dynamic segment")


def _read_versioned(elf: ELFFile, dynamic: Any) -> frozenset[str]:
    """Return the names of the libraries of which an ELF file needs symbols of a certain version (``DT_VERNEED``)."""
    found = set()
    for tag in dynamic.iter_tags("DT_VERNEED"):
        offset, following = next(elf.address_offsets(tag["d_ptr"])), 1
        while following:
            elf.stream.seek(offset)
            name, following = _VERSION_NEED.unpack(elf.stream.read(_VERSION_NEED.size))
            found.add(dynamic._get_stringtable().get_string(name))
            offset += following
    return frozenset(found)


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


def _remove_unlinked(replaced: Path, links: dict[Path, frozenset[str]]) -> None:
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
