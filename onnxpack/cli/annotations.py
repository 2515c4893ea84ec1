"""Formats problems for other programs: JSON, GitHub's workflow commands, and SARIF 2.1.0."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxpack import __version__
from onnxpack.core.errors import Problem
from onnxpack.spec.layers import is_setting

Results = Sequence[tuple[Path, Sequence[Problem]]]
"""Each spec with its problems."""

_RULE = "invalid-spec"


def as_json(results: Results) -> str:
    """Return a JSON list with one entry for each spec."""
    documents = [
        {"spec": str(path), "valid": not problems, "problems": [asdict(problem) for problem in problems]}
        for path, problems in results
    ]
    return json.dumps(documents, indent=2)


def as_github(results: Results) -> str:
    """Return one ``::error`` line for each problem (workflow commands of GitHub Actions); nothing without problems."""
    return "\n".join(_command(path, problem) for path, problems in results for problem in problems)


def _command(path: Path, problem: Problem) -> str:
    file, line, column = _place(path, problem)
    place = f"file={_escape(file, ',:')}" + (f",line={line},col={column}" if line else "")
    return f"::error {place},title=onnxpack::{_escape(_words(problem), '')}"


def _escape(text: str, more: str) -> str:
    # The percent sign comes first: it begins all the others' codes.
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def as_sarif(results: Results) -> str:
    """Return a SARIF 2.1.0 log (OASIS), as code scanning services take it."""
    found = [_result(path, problem) for path, problems in results for problem in problems]
    rule = {"id": _RULE, "shortDescription": {"text": "The spec is not valid"}}
    driver = {"name": "onnxpack", "version": __version__, "rules": [rule]}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": found}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(path: Path, problem: Problem) -> dict[str, Any]:
    file, line, column = _place(path, problem)
    place: dict[str, Any] = {"artifactLocation": {"uri": file}}
    if line:
        place["region"] = {"startLine": line, "startColumn": column}
    return {
        "ruleId": _RULE,
        "level": "error",
        "message": {"text": _words(problem)},
        "locations": [{"physicalLocation": place}],
    }


def _place(path: Path, problem: Problem) -> tuple[str, int, int]:
    where = problem.where
    if where is None or is_setting(where):
        return str(path), 0, 0
    return where.file, where.line, where.column


def _words(problem: Problem) -> str:
    return f"{problem.message} ({problem.hint})" if problem.hint else problem.message
