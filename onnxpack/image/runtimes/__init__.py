"""Run unpacked images without a daemon: one module for each runtime.

A runtime is a module that says ``RUNTIME = Kind``, where the kind meets ``runtime.Runtime`` and is made without
arguments; nothing else names it.
"""

import importlib
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from onnxpack.core.errors import SpecError

if TYPE_CHECKING:
    from onnxpack.image.runtimes.runtime import Runtime

VARIABLE = "ONNXPACK_RUNTIME"
"""The variable that names the one runtime to use."""
_RUNTIME = re.compile(r"^RUNTIME = ", re.MULTILINE)


@cache
def list_runtimes() -> tuple["Runtime", ...]:
    """Return all runtimes, in the order in which they are tried."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    names = [path.stem for path in modules if _RUNTIME.search(path.read_text(encoding="utf-8"))]
    found = [cast("Runtime", importlib.import_module(f"{__name__}.{name}").RUNTIME()) for name in names]
    return tuple(sorted(found, key=lambda runtime: runtime.rank))


def list_allowed() -> tuple["Runtime", ...]:
    """Return the runtimes that may be used: all, or the one that ``ONNXPACK_RUNTIME`` names.

    Raises:
        SpecError: there is none of that name.
    """
    wanted = os.environ.get(VARIABLE)
    found = tuple(runtime for runtime in list_runtimes() if not wanted or runtime.name == wanted)
    if not found:
        names = ", ".join(runtime.name for runtime in list_runtimes())
        raise SpecError(
            f"{VARIABLE} names the runtime '{(wanted or '')[:100]}', and there is none", f"use one of {names}"
        )
    return found
