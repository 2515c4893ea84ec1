"""Show results as a table for people, and as a document for programs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from onnxpack.conformance.checks import Level, Result, Verdict
from onnxpack.conformance.suite import is_conformant
from onnxpack.core.text import clean, format_table

_SHOWN = 200  # characters of a reason in the table


def count_results(results: Sequence[Result]) -> dict[str, dict[str, int]]:
    """Return how many checks of each level passed, failed, and were not offered."""
    counts = Counter((result.level, result.verdict) for result in results)
    return {str(level): {str(verdict): counts[level, verdict] for verdict in Verdict} for level in Level}


def make_document(url: str, model: str, results: Sequence[Result]) -> dict[str, Any]:
    """Return all results as a document."""
    return {
        "url": url,
        "model": model,
        "conformant": is_conformant(results),
        "counts": count_results(results),
        "checks": [asdict(result) for result in results],
    }


def format_results(results: Sequence[Result]) -> str:
    """Return all results as a table, and what they come to."""
    lines = format_table((result.verdict, result.level, result.id, result.title) for result in results)
    for row, result in reversed(list(enumerate(results, 1))):
        if result.verdict is not Verdict.PASS:
            lines.insert(row, f"    {clean(result.reason, _SHOWN)}")
    counts = format_table([
        ("", *Verdict), *((level, *counted.values()) for level, counted in count_results(results).items()),
    ], right=(1, 2, 3))  # fmt: skip
    return "\n".join([*lines, "", *counts])
