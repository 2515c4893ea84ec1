"""Notes what a program imports, and what it misses in a runtime layer; a program that is traced imports this first."""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

PLACE = "ONNXPACK_TRACED_LAYER"
"""The variable with the layer's folder."""
NOTES = "ONNXPACK_TRACE"
"""The variable with the file that notes go to, one a line: ``import NAME``, or ``open PATH`` below the folder."""


class Missing(MetaPathFinder):
    """The last finder: what it is asked for, no other one found."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        note(f"import {name}")
        return None


def note(line: str) -> None:
    """Add a line at once: the program may be killed, and its workers write as well."""
    file = os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note a module that is imported, and a file below the layer that is opened or loaded, and is not there."""
    if event == "import":  # also of a folder without a module, which imports as an empty package
        note(f"import {arguments[0]}")
    if event not in ("open", "ctypes.dlopen") or not isinstance(arguments[0], str):
        return
    path, folder = arguments[0], os.environ[PLACE] + "/"
    if path.startswith(folder) and not path.endswith(".pyc") and not Path(path).exists():
        note(f"open {path.removeprefix(folder)}")


def start() -> None:
    """Trace from here on."""
    sys.meta_path.append(Missing())
    sys.addaudithook(watch)
