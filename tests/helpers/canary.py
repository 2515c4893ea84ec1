"""A pickle that shows whether it was loaded."""

import os
from pathlib import Path
from typing import Any


class Canary:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)
