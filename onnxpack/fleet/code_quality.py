"""GitLab's code quality report of builds that failed: an issue for each problem, at its line in the repository."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from onnxpack.core.digests import digest
from onnxpack.core.errors import Problem
from onnxpack.core.text import clean
from onnxpack.fleet.rows import Row, place_problem
from onnxpack.spec.load import find_work_tree

_LONGEST = 1_000  # characters of a description


def render_code_quality(rows: Sequence[Row]) -> str:
    """Return the document; paths are relative to the work tree of each spec."""
    issues: dict[str, dict[str, object]] = {}
    for row in rows:
        for problem in row.problems if row.failed else ():
            issue = _make_issue(row, problem)
            issues[str(issue["fingerprint"])] = issue
    return json.dumps(list(issues.values()), indent=2) + "\n"


def _make_issue(row: Row, problem: Problem) -> dict[str, object]:
    root = find_work_tree(Path(os.path.realpath(row.spec)).parent)
    path, line, _ = place_problem(row, problem, root)
    words = f"{row.label}: {problem.message}" + (f" ({problem.hint})" if problem.hint else "")
    return {
        "description": clean(words, _LONGEST),
        "check_name": f"onnxpack {row.stage}".strip(),
        # The line is left out: an issue that only moved is the same one.
        "fingerprint": digest(row.label, row.stage, path, problem.message),
        "severity": "major",
        "location": {"path": path, "lines": {"begin": line}},
    }
