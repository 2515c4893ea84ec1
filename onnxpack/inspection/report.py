"""Reads a ``report.json`` that may come from anywhere."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpack.core.errors import Location, Problem, SpecError, describe_error

_MAX_BYTES = 16 << 20
"""The largest report that is read: the file may come from anywhere."""
_NEEDED = {"name": str, "target": str, "status": str}
_PASSED = {"stages": list, "model": dict}
"""The fields that a report must have besides, unless its build failed."""


def read_report(path: Path) -> dict[str, Any]:
    """Return the report's JSON values after a check of its outline.

    Raises:
        SpecError: it is not a build's report.
    """
    where = Location(str(path))
    hint = "give a build's report: dist/<name>/<target>/report.json"
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        content = json.loads(data) if len(data) <= _MAX_BYTES else None
    except OSError as error:
        raise SpecError(Problem(f"cannot read it: {error.strerror}", "check the path", where)) from None
    except (ValueError, RecursionError) as error:
        raise SpecError(Problem(f"it is not JSON: {describe_error(error, 200)}", hint, where)) from None
    if not isinstance(content, dict) or not _holds(content, _NEEDED):
        raise SpecError(Problem("it is not the report of a build", hint, where))
    if content["status"] != "failed" and not _holds(content, _PASSED):
        raise SpecError(Problem("it is not the report of a build", hint, where))
    return {**content, "kind": "report", "path": str(path)}


def _holds(content: dict[str, Any], kinds: Mapping[str, type]) -> bool:
    return all(isinstance(content.get(key), kind) for key, kind in kinds.items())
