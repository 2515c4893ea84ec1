"""Compares installed files with what their wheels record of them.

uv checks the hash of a wheel when it unpacks it into its cache, and installs from there later on: a file that changed
in the cache meanwhile is installed as it is.
"""

import base64
import csv
import hashlib
from collections import defaultdict
from pathlib import Path

from onnxpack.core.errors import EngineError
from onnxpack.core.regular import open_regular

_ALGORITHM = "sha256"


def require_recorded(site_packages: Path) -> None:
    """Make sure that every file of the packages in a folder has the digest that its wheel gave for it.

    Raises:
        EngineError: one has another, or is missing.
    """
    recorded: dict[str, dict[str, str]] = defaultdict(dict)  # of one file that two packages bring, either may stay
    for record in sorted(site_packages.glob("*.dist-info/RECORD")):
        with record.open(newline="", encoding="utf-8") as stream:
            for row in csv.reader(stream):
                if len(row) > 1 and row[1].startswith(f"{_ALGORITHM}="):
                    digest = row[1].partition("=")[2].rstrip("=")
                    recorded[row[0]][digest] = record.parent.name.partition("-")[0]
    for name, digests in recorded.items():
        if _digest(site_packages / name) not in digests:
            package = next(iter(digests.values()))
            message = f"uv installed another '{name}' than the wheel of {package} holds"
            raise EngineError(message, f"its cache is damaged: uv cache clean {package}")


def _digest(path: Path) -> str | None:
    try:
        with open_regular(path) as stream:
            found = hashlib.file_digest(stream, _ALGORITHM).digest()
    except OSError:
        return None
    return base64.urlsafe_b64encode(found).decode().rstrip("=")
