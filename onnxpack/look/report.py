"""Reading a ``report.json`` that may come from anywhere."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpack.errors import Location, Problem, SpecError

_MAX_BYTES = 16 << 20
_NEEDED = {"name": str, "target": str, "status": str}
_PASSED = {"stages": list, "model": dict}
"""What a report has besides, unless the build failed before there was any."""


def read_report(path: Path) -> dict[str, Any]:
    """The report's JSON values, its outline checked.

    Raises:
        SpecError: it is not a build's report.
    """
    where = Location(str(path))
    hint = "a build writes one as dist/<name>/<target>/report.json"
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        content = json.loads(data) if len(data) <= _MAX_BYTES else None
    except OSError as error:
        raise SpecError(Problem(f"cannot read it: {error.strerror}", "check the path", where)) from None
    except (ValueError, RecursionError) as error:
        raise SpecError(Problem(f"it is not JSON: {type(error).__name__}: {str(error)[:200]}", hint, where)) from None
    if not isinstance(content, dict) or not _holds(content, _NEEDED):
        raise SpecError(Problem("it is not the report of a build", hint, where))
    if content["status"] != "failed" and not _holds(content, _PASSED):
        raise SpecError(Problem("it is not the report of a build", hint, where))
    return {**content, "kind": "report", "path": str(path)}


def _holds(content: dict[str, Any], kinds: Mapping[str, type]) -> bool:
    return all(isinstance(content.get(key), kind) for key, kind in kinds.items())
