"""What a build depends on besides its spec: this package, Python, the installed packages, and the machine."""

import os
import platform
import sys
from functools import cache
from pathlib import Path

from onnxpack.cache.trace import PACKAGE, list_installed
from onnxpack.core.digests import digest, digest_file
from onnxpack.graph.isa import detect_isas
from onnxpack.timing.bench import describe_machine

_COMPILED = "__pycache__"
_TEMPLATES = "templates"
"""The folder beside the package in a checkout; an installed package has it inside."""


@cache
def digest_installation() -> str:
    """Return the SHA-256 of all that every build of this process depends on, read once for the process."""
    return read_installation()


def read_installation() -> str:
    """Return the same as it is at this moment.

    Where Python looks for modules is in it, as that decides which code a name in a spec means; not what it adds by how
    this one process was started, as no process that runs code of a spec has that.
    """
    places = (os.path.realpath(sys.prefix), sys.flags.no_user_site, os.environ.get("PYTHONPATH"))
    python = (platform.python_implementation(), sys.version, places)
    machine = (platform.machine(), describe_machine(None).processor, len(os.sched_getaffinity(0)))
    return digest(python, machine, sorted(detect_isas()), list_installed(), _digest_own_files())


def _digest_own_files() -> dict[str, str]:
    """Return the digest of every file of this package, and of its templates beside it."""
    found = {}
    for root in (PACKAGE, PACKAGE.parent / _TEMPLATES):
        for parent, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name != _COMPILED]
            for name in names:
                path = Path(parent, name)
                found[os.path.relpath(path, root)] = digest_file(path)
    return found
