"""Say what a base image offers to Python packages; the base's own Python runs this, by ``python3 -I -c``.

It prints one line of JSON with the fields of ``image.base.BaseSystem``. Any Python from 3.7 on runs it: a base with an
old one, or with one of another kind, is to be told apart from a base without any.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path


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
    found = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "free_threaded": "t" in getattr(sys, "abiflags", ""),
        "libc": read_libc(),
        "machine": read_machine(),
        "libstdcxx": has_library("libstdc++.so.6"),
    }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
