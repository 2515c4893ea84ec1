"""Stubs load as the libraries whose names they have, and their functions return what they are to return."""

import ctypes
import platform
from pathlib import Path

import pytest

from onnxpack.bundle.stubs import Constant, make_stub
from onnxpack.bundle.symbols import read_symbols

MACHINE = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}[platform.machine()]
FUNCTIONS = {"first": "VERSION_1", "second": "VERSION_2", "third": "VERSION_1", "fourth": "", "fifth": ""}
CONSTANTS: dict[str, Constant] = {"second": 65535, "third": b"a text", "fifth": b"and one more"}


def load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name in ("third", "fifth"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


def test_functions_return_what_they_are_to_return(tmp_path: Path) -> None:
    path = tmp_path / "libstub.so.1"
    path.write_bytes(make_stub(MACHINE, path.name, FUNCTIONS, CONSTANTS))
    library = load(path)
    assert [getattr(library, name)() for name in FUNCTIONS] == [0, 65535, b"a text", 0, b"and one more"]
    with pytest.raises(AttributeError):
        _ = library.sixth


def test_what_is_asked_for_in_a_version_is_found_in_it(tmp_path: Path) -> None:
    path = tmp_path / "libversions.so.1"
    path.write_bytes(make_stub(MACHINE, path.name, FUNCTIONS, {"first": 1}))
    find = ctypes.CDLL(None).dlvsym
    find.restype, find.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
    handle = ctypes.CDLL(str(path))._handle
    assert find(handle, b"first", b"VERSION_1")
    assert find(handle, b"second", b"VERSION_2")
    assert not find(handle, b"first", b"VERSION_2")
    assert not find(handle, b"fourth", b"VERSION_1")


@pytest.mark.parametrize("machine", ["EM_X86_64", "EM_AARCH64"])
def test_a_stub_is_a_library_to_who_reads_it(tmp_path: Path, machine: str) -> None:
    path = tmp_path / "libstub.so.1"
    path.write_bytes(make_stub(machine, path.name, FUNCTIONS, CONSTANTS))
    found = read_symbols(path)
    assert found.machine == machine
    assert found.defined == FUNCTIONS.keys()
    assert path.stat().st_size < 1000


def test_a_library_without_functions_loads_too(tmp_path: Path) -> None:
    path = tmp_path / "libempty.so.1"
    path.write_bytes(make_stub(MACHINE, path.name, {}, {}))
    assert ctypes.CDLL(str(path))._handle


def test_functions_for_arm_are_those_that_its_manual_has() -> None:
    data = make_stub("EM_AARCH64", "lib.so", {"a": "", "b": "", "c": ""}, {"b": 1, "c": b"text"})
    code = data[64 + 4 * 56 :][:24]
    words = [int.from_bytes(code[at : at + 4], "little") for at in range(0, 24, 4)]
    # movz x0, #0; movz x0, #1; adr x0, #8 (behind itself and its ret); each with ret.
    assert words == [0xD2800000, 0xD65F03C0, 0xD2800020, 0xD65F03C0, 0x10000040, 0xD65F03C0]
    assert data[64 + 4 * 56 + 24 :].startswith(b"text\0")


def test_there_is_no_stub_for_another_machine() -> None:
    with pytest.raises(KeyError):
        make_stub("EM_RISCV", "lib.so", {}, {})
