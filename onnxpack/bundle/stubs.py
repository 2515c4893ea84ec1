"""Writes shared libraries whose functions do nothing but return a constant, for those that nobody calls.

A library that others link has to be there, and has to have each symbol that they ask for, in the version that they ask
for, or they do not load. No compiler is needed for that, and the same call gives the same bytes on every machine.
"""

import struct
from collections.abc import Mapping

Constant = int | bytes
"""What a function returns: a number below 65,536, or the address of a text without its NUL."""

_MACHINES = {"EM_X86_64": 62, "EM_AARCH64": 183}
_PAGE = 0x10000  # the largest page of both machines
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_DEFINITION = struct.Struct("<HHHHIIIII")
"""An ``Elf64_Verdef`` with its one ``Elf64_Verdaux``."""
_FUNCTION = 0x12  # of a symbol: global, and a function
_LOAD, _DYNAMIC, _STACK = 1, 2, 0x6474E551
_X, _W, _R = 1, 2, 4
_HASH, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _SONAME = 4, 5, 6, 10, 11, 14
_VERSYM, _VERDEF, _VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
_SEGMENTS = 4
_CODE = _HEADER.size + _SEGMENTS * _SEGMENT.size
"""Where the code begins, right behind the headers."""
_CODE_SIZE = 8  # bytes of a function


def make_stub(machine: str, name: str, functions: Mapping[str, str], constants: Mapping[str, Constant]) -> bytes:
    """Return a shared library that a loader of Linux takes for the library ``name``.

    Args:
        machine: ``EM_X86_64`` or ``EM_AARCH64``, as ELF headers have it.
        name: the name that others link it by.
        functions: the functions' names, each with the version that it is asked for in, or an empty text.
        constants: what functions return; of others 0, which is also no pointer.

    Raises:
        KeyError: the machine is another one.
    """
    number, names, texts = _MACHINES[machine], sorted(functions), _Texts()
    versions = [name, *sorted({version for version in functions.values() if version})]
    # Of the numbers of versions 1 is the library itself, for what has none.
    numbers = [versions.index(functions[one]) + 1 if functions[one] else 1 for one in names]
    tables = {
        _HASH: _make_hash(len(names)),
        _SYMTAB: _make_symbols([texts.add(one) for one in names]),
        _VERSYM: struct.pack(f"<{len(names) + 1}H", 0, *numbers),
        _VERDEF: _make_definitions([(version, texts.add(version)) for version in versions]),
    }
    tables[_STRTAB] = texts.data
    body = _make_code(machine, [constants.get(one, 0) for one in names])
    entries = [
        (_STRSZ, len(texts.data)), (_SYMENT, _SYMBOL.size), (_VERDEFNUM, len(versions)), (_SONAME, texts.add(name)),
    ]  # fmt: skip
    for tag, table in tables.items():
        body = _fill(body)
        entries.append((tag, _CODE + len(body)))
        body += table
    body = _fill(body)
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in (*entries, (0, 0)))
    return _make_headers(number, _CODE + len(body), len(dynamic)) + body + dynamic


def _make_headers(machine: int, end: int, size: int) -> bytes:
    """Return the headers of a library whose table for the loader begins at ``end`` and has ``size`` bytes."""
    segments = (
        (_LOAD, _R | _X, 0, 0, end, _PAGE),
        # The loader writes into its table, so it is mapped a page further on.
        (_LOAD, _R | _W, end, end + _PAGE, size, _PAGE),
        (_DYNAMIC, _R | _W, end, end + _PAGE, size, 8),
        (_STACK, _R | _W, 0, 0, 0, 16),  # without it loaders make stacks executable
    )
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = _HEADER.pack(ident, 3, machine, 1, 0, _HEADER.size, 0, 0, _HEADER.size, _SEGMENT.size, _SEGMENTS, 0, 0, 0)
    return header + b"".join(
        _SEGMENT.pack(kind, flags, offset, address, address, length, length, align)
        for kind, flags, offset, address, length, align in segments
    )


class _Texts:
    """The texts of a library, one behind the other."""

    def __init__(self) -> None:
        self.data = b"\0"
        self._places: dict[str, int] = {}

    def add(self, text: str) -> int:
        """Return the place of a text; it is added if it is new."""
        if text not in self._places:
            self._places[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self._places[text]


def _fill(data: bytes) -> bytes:
    """Fill up to where any table may begin."""
    return data + bytes(-len(data) % 16)


def _make_symbols(names: list[int]) -> bytes:
    """Return the table of symbols, which are the functions in order."""
    # Of sections any but none would do: there is no table of them, and loaders do not read it.
    return bytes(_SYMBOL.size) + b"".join(
        _SYMBOL.pack(name, _FUNCTION, 0, 1, _CODE + index * _CODE_SIZE, _CODE_SIZE) for index, name in enumerate(names)
    )


def _make_hash(count: int) -> bytes:
    """Return the table by which the loader looks up one of ``count`` symbols: one chain of all of them."""
    chain = [0, *range(2, count + 1), 0][: count + 1]
    return struct.pack(f"<{count + 4}I", 1, count + 1, min(count, 1), *chain)


def _make_definitions(versions: list[tuple[str, int]]) -> bytes:
    """Return the table of versions; the first one is the library itself."""
    size = _DEFINITION.size
    return b"".join(
        _DEFINITION.pack(
            1, int(index == 0), index + 1, 1, _hash(text), size - 8, 0 if index == len(versions) - 1 else size, place, 0
        )
        for index, (text, place) in enumerate(versions)
    )


def _hash(text: str) -> int:
    """Return the hash of a version's name, as the System V ABI defines it."""
    value = 0
    for byte in text.encode():
        value = (value << 4) + byte
        value = (value ^ ((value & 0xF0000000) >> 24)) & 0x0FFFFFFF
    return value


def _make_code(machine: str, constants: list[Constant]) -> bytes:
    """Return functions that return the constants, one behind the other, and the texts behind them."""
    code, texts = b"", b""
    for index, constant in enumerate(constants):
        if isinstance(constant, int):
            code += _return_number(machine, constant)
        else:
            code += _return_address(machine, (len(constants) - index) * _CODE_SIZE + len(texts))
            texts += constant + b"\0"
    return code + texts


def _return_number(machine: str, number: int) -> bytes:
    if machine == "EM_X86_64":
        return b"\xb8" + struct.pack("<I", number) + b"\xc3\x90\x90"  # mov eax, number; ret
    return struct.pack("<II", 0xD2800000 | number << 5, 0xD65F03C0)  # mov x0, number; ret


def _return_address(machine: str, distance: int) -> bytes:
    """Return a function that returns the address ``distance`` bytes behind its own."""
    if machine == "EM_X86_64":
        return b"\x48\x8d\x05" + struct.pack("<i", distance - 7) + b"\xc3"  # lea rax, [rip + …]; ret
    return struct.pack("<II", 0x10000000 | (distance & 3) << 29 | (distance >> 2) << 5, 0xD65F03C0)  # adr x0, …; ret
