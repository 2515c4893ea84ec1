"""Read shared libraries of wheels, and cut what no loader maps off them."""

import re
import shutil
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePath
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

_WORD = re.compile(rb"(?<![\w.+-])([A-Za-z_][\w.+-]{2,199}+)\x00")
_SECTION_FIELDS = {32: ((32, 4), (48, 4)), 64: ((40, 8), (60, 4))}
"""Offset and size of the header's fields about sections, by the file's class: of the offset, then of the numbers."""
_HEADER_BYTES = {32: 52, 64: 64}


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
    """Cut a shared library's sections that are in no segment (symbols, debugging); return the bytes saved.

    Nothing that is loaded moves. What lies between segments becomes zeros, which compress to nothing; what is behind
    the last one goes. A file that is not ELF, or that ends before its segments do, stays as it is.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            elf: Any = ELFFile(stream)
            spans = [(one["p_offset"], one["p_offset"] + one["p_filesz"]) for one in elf.iter_segments()]
            table = (elf["e_phoff"], elf["e_phoff"] + elf["e_phnum"] * elf["e_phentsize"])
            bits: int = elf.elfclass
    except ELFError:
        return 0
    spans = sorted([(0, _HEADER_BYTES[bits]), table, *(span for span in spans if span[0] < span[1])])
    end: int = max(stop for _, stop in spans)
    if len(spans) == 2 or end > size:
        return 0
    # Another name of the file may be in an installer's cache, or in an environment: they keep theirs.
    copy = path.with_name(f"{path.name}.cut")
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        for start, stop in _find_gaps(spans):
            file.seek(start)
            file.write(bytes(stop - start))
        for start, count in _SECTION_FIELDS[bits]:
            file.seek(start)
            file.write(bytes(count))
        file.truncate(end)
    copy.replace(path)
    return size - end


def _find_gaps(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Give what lies between spans that are in order."""
    reached = 0
    for start, stop in spans:
        if start > reached:
            yield reached, start
        reached = max(reached, stop)
