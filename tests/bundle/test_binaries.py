"""Every program and library of the packages is for the image's machine and Python, whatever a wheel's name says."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxpack.bundle.binaries import read_machine, require_binaries
from onnxpack.core.errors import EngineError
from onnxpack.core.platforms import MACHINES, find_machine, find_own_platform

AMD, ARM, I386, X32 = ((2, 62), (2, 183), (1, 3), (1, 62))
RECORD = "a/{file},sha256=x,1\na-1.dist-info/RECORD,,\n"


def make_elf(kind: tuple[int, int], *, big: bool = False) -> bytes:
    """Return the head of an ELF file of a class and a machine."""
    bits, machine = kind
    head = b"\x7fELF" + bytes([bits, 2 if big else 1, 1]) + bytes(9) + b"\x03\x00"
    return head + machine.to_bytes(2, "big" if big else "little") + bytes(44)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return the folder of an installed package ``a``; its module is in ``a/``."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a-1.dist-info").mkdir()
    (tmp_path / "a-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: a\nVersion: 1\n")
    return tmp_path


def put(package: Path, file: str, data: bytes) -> None:
    (package / "a" / file).write_bytes(data)
    (package / "a-1.dist-info/RECORD").write_text(RECORD.format(file=file))


@pytest.mark.parametrize(
    ("data", "machine"),
    [
        (make_elf(AMD), "x86_64"),
        (make_elf(ARM), "aarch64"),
        (make_elf(I386), "i386, 32 bits"),
        (make_elf(X32), "x86_64, 32 bits"),
        (make_elf((2, 21), big=True), "machine 21"),
        (make_elf(AMD)[:19], None),
        (b"", None),
        (b"#!/bin/sh\n" + bytes(100), None),
    ],
)
def test_the_head_of_a_file_tells_its_machine(tmp_path: Path, data: bytes, machine: str | None) -> None:
    (tmp_path / "file").write_bytes(data)
    assert read_machine(tmp_path / "file") == machine


def test_this_machine_s_own_libraries_are_read(tmp_path: Path) -> None:
    library = next(Path(np.__file__).parent.rglob("_multiarray_umath*.so"))
    shutil.copy(library, tmp_path)
    own, python = find_own_platform(), f"3.{sys.version_info.minor}"
    require_binaries(tmp_path, own, python)
    (other,) = MACHINES.keys() - {own}
    with pytest.raises(EngineError, match=f"is for {find_machine(own)}, and the image for {other}"):
        require_binaries(tmp_path, other, python)


@pytest.mark.parametrize(
    "file", ["m.cpython-311-aarch64-linux-gnu.so", "m.abi3.so", "libm.so.1", "program", "m.cpython-39.txt"]
)
def test_files_for_the_platform_are_taken(package: Path, file: str) -> None:
    put(package, file, make_elf(ARM))
    (package / "a" / "text").write_text("no program")
    (package / "a" / "link").symlink_to(sys.executable)
    require_binaries(package, "linux/arm64", "3.11")
    assert read_machine(package / "a" / file) == "aarch64"


def test_a_file_for_another_machine_is_named_with_its_package(package: Path) -> None:
    put(package, "lib.so", make_elf(AMD))
    with pytest.raises(EngineError, match=r"'a/lib\.so' of a is for x86_64, and the image for linux/arm64"):
        require_binaries(package, "linux/arm64", "3.11")
    (package / "stray").write_bytes(make_elf(X32))
    (package / "a/lib.so").unlink()
    with pytest.raises(EngineError, match=r"'stray' of no package is for x86_64, 32 bits"):
        require_binaries(package, "linux/amd64", "3.11")


@pytest.mark.parametrize("tag", ["cpython-313-x86_64-linux-gnu", "cpython-311t-x86_64-linux-gnu"])
def test_an_extension_module_of_another_python_is_named(package: Path, tag: str) -> None:
    put(package, f"m.{tag}.so", make_elf(AMD))
    with pytest.raises(EngineError, match=r"of a is for Python 3\.1\dt?, and the image has 3\.11"):
        require_binaries(package, "linux/amd64", "3.11")
