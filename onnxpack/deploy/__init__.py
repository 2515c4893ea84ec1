"""Write the files that bring a built image into a cluster, with figures that its build measured."""

from functools import cache
from pathlib import Path


@cache
def list_formats() -> tuple[str, ...]:
    """Return the names of the formats, as the command line knows them: one module each."""
    folder = Path(__file__).parent / "formats"
    return tuple(sorted(path.stem.replace("_", "-") for path in folder.glob("[a-z]*.py")))
