"""Shared libraries: their links are read from themselves, and what nothing maps is cut off."""

import ctypes
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from onnxpack.bundle.libraries import drop_unmapped, is_library, read_needed_libraries, read_words
from onnxpack.bundle.stubs import make_stub


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A copy of an extension module that carries its debugging information."""
    (file,) = [file for file in distribution("httptools").files or () if file.match("parser/parser.*.so")]
    return Path(shutil.copy(file.locate(), tmp_path))


def test_links_are_read_from_the_library_itself(tmp_path: Path) -> None:
    library = next(Path(np.__file__).parent.glob("_core/_multiarray_umath*.so"))
    assert "libc.so.6" in read_needed_libraries(library)
    for data in (b"", b"\x7fELF", b"INPUT(libc.so)\n"):
        (tmp_path / "a.so").write_bytes(data)
        assert read_needed_libraries(tmp_path / "a.so") == []


def test_libraries_are_known_by_their_names() -> None:
    names = ("a.so", "a.cpython-311-x86_64-linux-gnu.so", "liba.so.1.2", "a.py", "a.sofa")
    assert [is_library(Path(name)) for name in names] == [True, True, True, False, False]


def test_words_end_with_a_nul(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(b"\1numpy._core.multiarray\0no word\0\xffdata-1.bin\0cut")
    assert read_words(tmp_path / "a.so") == {"numpy._core.multiarray", "word", "data-1.bin"}


def test_what_is_loaded_stays_byte_for_byte_and_what_is_not_goes(library: Path) -> None:
    before = library.read_bytes()
    saved = drop_unmapped(library)
    after = library.read_bytes()
    assert len(before) - len(after) == saved > 100_000
    assert b".debug_info" not in after
    # Of the header only the fields about sections differ.
    assert [at for at in range(len(after)) if after[at] != before[at] and at < 64] == [
        at for at in (*range(40, 48), *range(60, 64)) if before[at]
    ]
    assert read_needed_libraries(library)
    assert drop_unmapped(library) == 0
    assert library.read_bytes() == after


def test_another_name_of_the_file_keeps_what_it_was(library: Path) -> None:
    # As an installer that links instead of copying has it in its cache.
    before = library.read_bytes()
    other = library.with_name("other")
    other.hardlink_to(library)
    assert drop_unmapped(library) > 0
    assert other.read_bytes() == before
    assert sorted(path.name for path in library.parent.iterdir()) == sorted((library.name, "other"))


def test_a_library_that_was_cut_loads_and_works(tmp_path: Path, library: Path) -> None:
    package = tmp_path / "httptools"
    shutil.copytree(Path(distribution("httptools").locate_file("httptools")), package)
    for path in package.rglob("*.so"):
        assert drop_unmapped(path) > 0
    code = "import httptools; print(httptools.parse_url(b'http://a/b').path, httptools.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"b'/b' {package / '__init__.py'}\n"


def read_segments(library: Path) -> list[tuple[str, int, bytes]]:
    """Return the kind, the address and the content of each segment; the table of segments says where they are."""
    with library.open("rb") as stream:
        found = [(str(one["p_type"]), one["p_vaddr"], one.data()) for one in ELFFile(stream).iter_segments()]
        table = ELFFile(stream)["e_phoff"] + ELFFile(stream)["e_phnum"] * ELFFile(stream)["e_phentsize"]
    return [(kind, address, data[max(0, table - address) :]) for kind, address, data in found if kind != "PT_PHDR"]


@pytest.mark.parametrize("align", [1, 3, 5, 7])
def test_a_segment_moves_by_its_alignment_only(tmp_path: Path, align: int) -> None:
    library = tmp_path / "a.so"
    library.write_bytes(make_stub("EM_X86_64", "a.so", {"a": ""}, {}))
    before = bytearray(library.read_bytes())
    # Its second segment, which begins in the first one's last page, moves some pages down, with the table inside it.
    start = int.from_bytes(before[64 + 56 + 8 :][:8], "little")
    tail = before[start:]
    before[start:] = bytes(align * 0x10000) + tail
    for entry in (1, 2):
        at = 64 + entry * 56 + 8
        before[at : at + 8] = (start + align * 0x10000).to_bytes(8, "little")
    library.write_bytes(before)
    inside = read_segments(library)
    assert drop_unmapped(library) == align * 0x10000
    assert read_segments(library) == inside
    assert library.read_bytes()[start:] == tail
    assert ctypes.CDLL(str(library)).a() == 0


def test_a_library_whose_segments_were_moved_behind_its_symbols_loads(tmp_path: Path) -> None:
    # As auditwheel leaves it; this is what `strip` breaks.
    (file,) = [file for file in distribution("numpy").files or () if "libscipy_openblas" in str(file)]
    for path in file.locate().parent.glob("*.so*"):
        shutil.copy(path, tmp_path)
    library = tmp_path / file.name
    before = read_segments(library)
    # What was between the segments is gone: they moved up in the file, and stay where they are in memory.
    assert drop_unmapped(library) > 500_000
    assert read_segments(library) == before
    assert drop_unmapped(library) == 0
    code = f"import ctypes; print(ctypes.CDLL({str(library)!r}).scipy_openblas_get_num_threads64_() > 0)"
    environment = {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert ctypes.sizeof(ctypes.c_void_p) == 8


@pytest.mark.parametrize("data", [b"", b"no library", b"\x7fELF", b"\x7fELF\x02\x01\x01" + bytes(57)])
def test_what_is_no_whole_library_stays_as_it_is(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.so").write_bytes(data)
    assert drop_unmapped(tmp_path / "a.so") == 0
    assert (tmp_path / "a.so").read_bytes() == data


def test_a_library_that_ends_within_a_segment_stays_as_it_is(library: Path) -> None:
    library.write_bytes(library.read_bytes()[:100_000])
    assert drop_unmapped(library) == 0
    assert len(library.read_bytes()) == 100_000
