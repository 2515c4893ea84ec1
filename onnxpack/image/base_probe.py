"""Say what a base image offers to Python packages; the base's own Python runs this, by ``python3 -I -c``.

It prints one line of JSON. Any Python from 3.7 on runs it: a base with an old one, or with one of another kind, is told
apart from a base without any. What is found follows from this module and the base alone.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class BaseSystem:
    """What a base image offers to Python packages."""

    python: str
    """The version of its ``python3``, as ``3.11.2``."""
    implementation: str
    """The kind of that Python, as ``CPython``."""
    free_threaded: bool
    """Whether it is a build without the global lock, which takes packages of its own."""
    libc: str
    """The C library, as ``glibc 2.36``, or ``musl``; empty for one of another name."""
    machine: str
    """The machine that the interpreter was built for, as Linux names it: ``x86_64``."""
    libstdcxx: bool | None
    """Whether it has the C++ runtime; None where that could not be told."""


def read_libc() -> str:
    """Return the C library's name and version, as ``glibc 2.36``; of musl the name alone, of others nothing."""
    try:
        found = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        found = None  # another one has no such name
    return found or ("musl" if any(Path("/lib").glob("ld-musl-*")) else "")


def read_machine() -> str:
    """Return what the interpreter was built for, as ``x86_64``; a kernel may run programs of several machines."""
    built_for = getattr(sys.implementation, "_multiarch", "")
    return built_for.partition("-")[0] or platform.machine()


def has_library(name: str) -> bool | None:
    """Return whether a shared library and all that it links can be loaded; None where Python has no ``ctypes``."""
    try:
        import ctypes
    except ImportError:
        return None
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def main() -> None:
    """Print what is found."""
    system = BaseSystem(
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        free_threaded="t" in getattr(sys, "abiflags", ""),
        libc=read_libc(),
        machine=read_machine(),
        libstdcxx=has_library("libstdc++.so.6"),
    )
    print(json.dumps(asdict(system)))  # noqa: T201


if __name__ == "__main__":
    main()
