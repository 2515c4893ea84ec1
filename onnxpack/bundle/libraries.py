"""Read shared libraries of wheels, and cut what no loader maps off them."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

_WORD = re.compile(rb"(?<![\w.+-])([A-Za-z_][\w.+-]{2,199}+)\x00")
_SECTION_FIELDS = {32: ((32, 4), (48, 4)), 64: ((40, 8), (60, 4))}
"""Offset and size of the header's fields about sections, by the file's class: of the offset, then of the numbers."""
_HEADER_BYTES = {32: 52, 64: 64}
_OFFSET_OF_SEGMENT = 8
"""Where an entry of a 64-bit file's table of segments has the place in the file."""


@dataclass(frozen=True)
class _Segment:
    """A segment that has bytes in the file: the place of its entry in the table, and where it lies."""

    entry: int
    loaded: bool
    start: int
    size: int
    align: int

    @property
    def stop(self) -> int:
        """Return where it ends."""
        return self.start + self.size


@dataclass(frozen=True)
class _Layout:
    """Where the parts of an ELF file lie that loaders read."""

    bits: int
    table: tuple[int, int]
    segments: tuple[_Segment, ...]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Return the parts in order; they may overlap."""
        return sorted([(0, _HEADER_BYTES[self.bits]), self.table, *((one.start, one.stop) for one in self.segments)])

    @property
    def end(self) -> int:
        """Return where the last part ends."""
        return max(stop for _, stop in self.spans)


def is_library(path: PurePath) -> bool:
    """Return whether a file's name is that of a shared library: ``*.so`` or ``*.so.1.2``."""
    return ".so" in path.suffixes


def read_needed_libraries(path: Path) -> list[str]:
    """Return the ``DT_NEEDED`` entries of a shared library; none for a file that is not ELF."""
    try:
        with path.open("rb") as stream:
            for segment in ELFFile(stream).iter_segments("PT_DYNAMIC"):
                found: Any = segment
                return [tag.needed for tag in found.iter_tags("DT_NEEDED")]
    except ELFError:
        pass
    return []


def read_words(path: Path) -> frozenset[str]:
    """Return the texts of a library that may be names of modules, functions and files: those that end with a NUL."""
    if not path.stat().st_size:
        return frozenset()
    with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:  # some have 400 MB
        return frozenset(word.decode("ascii") for word in _WORD.findall(data))


def drop_unmapped(path: Path) -> int:
    """Cut out of a shared library what is in no segment (symbols, debugging); return the bytes saved.

    All that is loaded stays at its address in memory. In the file segments move up behind each other as far as their
    alignment lets them; what still lies between becomes zeros, which compress to nothing. A file that is not ELF, or
    that ends before its segments do, stays as it is.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            layout = _read_layout(ELFFile(stream))
    except ELFError:
        return 0
    if not layout.segments or layout.end > size:
        return 0
    # Another name of the file may be in an installer's cache, or in an environment: they keep theirs.
    copy = path.with_name(f"{path.name}.cut")
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        layout = _move_segments(file, layout)
        for start, stop in _find_gaps(layout.spans):
            file.seek(start)
            file.write(bytes(stop - start))
        for start, count in _SECTION_FIELDS[layout.bits]:
            file.seek(start)
            file.write(bytes(count))
        file.truncate(layout.end)
    copy.replace(path)
    return size - layout.end


def _read_layout(elf: Any) -> _Layout:
    table, step = elf["e_phoff"], elf["e_phentsize"]
    segments = tuple(
        _Segment(table + index * step, one["p_type"] == "PT_LOAD", one["p_offset"], one["p_filesz"], one["p_align"])
        for index, one in enumerate(elf.iter_segments())
        if one["p_filesz"]
    )
    return _Layout(elf.elfclass, (table, table + elf["e_phnum"] * step), segments)


def _move_segments(file: BinaryIO, layout: _Layout) -> _Layout:
    """Move segments up in the file, and return where they are then.

    Loaders map whole pages, so a segment moves by a multiple of its alignment, and others with the one around them. A
    file in which one has none around it, or where the table of segments is not in the first, stays as it is.
    """
    loaded = sorted((one for one in layout.segments if one.loaded), key=lambda one: one.start)
    if layout.bits != 64 or not loaded or loaded[0].start or layout.table[1] > loaded[0].stop:
        return layout
    shifts: dict[int, int] = {}
    end = 0
    for one in loaded:
        shifts[one.start] = (one.start - end) // (one.align or 1) * (one.align or 1)
        end = one.stop - shifts[one.start]
    moved = []
    for one in layout.segments:
        around = [other for other in loaded if other.start <= one.start and one.stop <= other.stop]
        if not around or shifts[around[0].start] < 0:
            return layout
        moved.append(replace(one, start=one.start - shifts[around[0].start]))
    for old, new in sorted(zip(layout.segments, moved, strict=True), key=lambda pair: pair[0].start):
        if old.loaded and old != new:
            file.seek(old.start)
            data = file.read(old.size)
            file.seek(new.start)
            file.write(data)
    for new in moved:
        file.seek(new.entry + _OFFSET_OF_SEGMENT)
        file.write(new.start.to_bytes(8, "little"))
    return replace(layout, segments=tuple(moved))


def _find_gaps(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Give what lies between spans that are in order."""
    reached = 0
    for start, stop in spans:
        if start > reached:
            yield reached, start
        reached = max(reached, stop)
