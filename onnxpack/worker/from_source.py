"""Compiles the modules of users from their source each time, instead of believing what lies in ``__pycache__``.

Python takes compiled code for current if it holds the source's size and the whole seconds of its time. A module that
was edited within one second, or whose time was set back, would run as it was before, under the key of what it is now.
"""

from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any


def compile_from_source(is_input: Callable[[str], bool]) -> None:
    """Let this process import every module from its source whose file ``is_input``; installed ones stay as they are."""
    believe = SourceFileLoader.get_code

    def get_code(loader: Any, fullname: str) -> CodeType | None:
        path = loader.get_filename(fullname)
        if not is_input(path):
            return believe(loader, fullname)
        code: CodeType = loader.source_to_code(loader.get_data(path), path)
        return code

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]
