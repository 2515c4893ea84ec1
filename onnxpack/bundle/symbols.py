"""Reads from shared libraries what loaders read: symbols that they offer and ask for, and libraries that they link."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from onnxpack.core.errors import EngineError, flatten_words

_SYMBOL = struct.Struct("<I2xH16x")
"""An ``Elf64_Sym``: where its name is, and its section, 0 for a symbol that is defined elsewhere."""
_NEED = struct.Struct("<2xHIII")
"""An ``Elf64_Verneed``: how many versions, where the library's name is, and how far off those and the next one are."""
_VERSION = struct.Struct("<6xHII")
"""An ``Elf64_Vernaux``: its number, where the version's name is, and how far off the next one is."""
_DAMAGED = (ELFError, struct.error, ValueError, AssertionError, StopIteration, OSError)
"""What is raised where an ELF file points nowhere."""


@dataclass(frozen=True)
class Symbols:
    """What a shared library offers to the loader, and what it asks of it."""

    machine: str
    defined: frozenset[str]
    undefined: frozenset[str]
    versions: tuple[tuple[str, str, str], ...]
    """The undefined symbols that it needs in a certain version, each with the library's name and the version's."""

    @property
    def versioned(self) -> frozenset[str]:
        """Return the names of the libraries of which it needs symbols of a certain version."""
        return frozenset(library for _, library, _ in self.versions)


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
            count = dynamic.num_symbols()
            table = _read_at(elf, dynamic, "DT_SYMTAB", count * _SYMBOL.size)
            texts = _read_at(elf, dynamic, "DT_STRTAB", next(dynamic.iter_tags("DT_STRSZ"))["d_val"])
            symbols = [(_get_text(texts, name), bool(section)) for name, section in _SYMBOL.iter_unpack(table)]
            versions = {number: (library, name) for number, library, name in _iterate_versions(elf, dynamic, texts)}
            numbers = _read_at(elf, dynamic, "DT_VERSYM", count * 2) if versions else b""
            asked = zip(symbols, (number for (number,) in struct.iter_unpack("<H", numbers)), strict=False)
            return Symbols(
                elf["e_machine"],
                frozenset(name for name, defined in symbols if defined),
                frozenset(name for name, defined in symbols if not defined),
                tuple((name, *versions[number]) for (name, defined), number in asked if number in versions),
            )
    except _DAMAGED as error:
        message = f"{path.name} is no shared library, or not whole: {flatten_words(error, 200)}"
        raise EngineError(message, "run the build again") from None


def _read_at(elf: ELFFile, dynamic: Any, tag: str, size: int) -> bytes:
    """Read ``size`` bytes, or what the file has of them, from where an entry of the dynamic segment points."""
    elf.stream.seek(next(elf.address_offsets(next(dynamic.iter_tags(tag))["d_ptr"])))
    return bytes(elf.stream.read(min(size, elf.stream_len)))


def _get_text(texts: bytes, place: int) -> str:
    return texts[place : texts.index(b"\0", place)].decode()


def _find_dynamic(elf: ELFFile) -> Any:
    """Return the segment that the loader reads; the table of sections is for debuggers, and may have been cut off."""
    for segment in elf.iter_segments("PT_DYNAMIC"):
        return segment
    raise ELFError("it has no dynamic segment")


def _iterate_versions(elf: ELFFile, dynamic: Any, texts: bytes) -> Iterator[tuple[int, str, str]]:
    """Yield the versions that an ELF file needs (``DT_VERNEED``): their numbers, libraries and names."""
    for tag in dynamic.iter_tags("DT_VERNEED"):
        place, behind = next(elf.address_offsets(tag["d_ptr"])), 1
        while behind:
            count, library, first, behind = _unpack_at(elf, _NEED, place)
            at = place + first
            for _ in range(count):
                number, name, step = _unpack_at(elf, _VERSION, at)
                yield number, _get_text(texts, library), _get_text(texts, name)
                at += step
            place += behind


def _unpack_at(elf: ELFFile, layout: struct.Struct, place: int) -> tuple[int, ...]:
    elf.stream.seek(place)
    return layout.unpack(elf.stream.read(layout.size))
