"""Check that what was unpacked runs where the image does: a wheel's name says it, and its files must say the same."""

import re
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from onnxpack.core.errors import EngineError
from onnxpack.core.platforms import find_machine

_MAGIC = b"\x7fELF"
_HEAD = 20
"""The bytes of an ELF header up to the end of ``e_machine``, which are the same for 32 and 64 bits."""
_CLASSES = {1: 32, 2: 64}
_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""Linux' names for numbers of machines, as ``e_machine`` has them; of a number without a name the number is told."""
_EXTENSION = re.compile(r".+\.cpython-3(\d+t?)[a-z]*-[^.]+\.so")
"""The name of an extension module for one version of Python; others are for any (``abi3``)."""
_HINT = "it is no wheel for this image whatever its name says: run `onnxpack lock SPEC` for other packages"


def require_binaries(folder: Path, platform: str, python: str) -> None:
    """Require that all programs and libraries in a folder are for a platform, and extension modules for a Python.

    ``folder`` has packages as an installer leaves them, with their ``RECORD``.

    Raises:
        EngineError: one is for another machine or Python; with its name and its package's.
    """
    wanted = find_machine(platform)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        found = read_machine(path)
        if found is None:
            continue
        if found != wanted:
            words = f"is for {found}, and the image for {platform}"
            raise EngineError(f"{_name_file(folder, path)} {words}", _HINT)
        tagged = _EXTENSION.fullmatch(path.name)
        if tagged and tagged[1] != python.partition(".")[2]:
            words = f"is for Python 3.{tagged[1]}, and the image has {python}"
            raise EngineError(f"{_name_file(folder, path)} {words}", _HINT)


def read_machine(path: Path) -> str | None:
    """Return the machine that an ELF file is for, as ``x86_64``; None for a file of another kind."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if not head.startswith(_MAGIC) or len(head) < _HEAD:
        return None
    number = int.from_bytes(head[18:20], "big" if head[5] == 2 else "little")
    bits = _CLASSES.get(head[4], 0)
    # A 32-bit program for x86-64 (x32) has that machine's number, and runs on few kernels.
    return _MACHINES.get(number, f"machine {number}") if bits == 64 else f"{_MACHINES.get(number, number)}, {bits} bits"


def _name_file(folder: Path, path: Path) -> str:
    """Return what to call a file: its path, and the package that brought it."""
    owner = next((name for name, file in _list_files(folder) if file == path), None)
    return f"'{path.relative_to(folder)}' of {owner or 'no package'}"


def _list_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for package in distributions(path=[str(folder)]):
        for file in package.files or ():
            yield package.name, folder / file
