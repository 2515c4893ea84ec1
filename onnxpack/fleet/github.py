"""What GitHub Actions shows of builds: annotations at the lines of specs, outputs of a step, and its summary."""

import json
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from onnxpack.core.text import clean
from onnxpack.fleet.rows import Row, count_rows, list_cells, place_problem

_SUMMARY_LIMIT = 1_000_000
"""Bytes: GitHub takes no summary of more than 1 MiB, and shows nothing of it."""
_OUTPUT_LIMIT = 500_000
"""Bytes of one output; all of a job may have 1 MB."""
_LONGEST = 1_000  # characters of a message


def list_annotations(rows: Sequence[Row], workspace: Path) -> Iterator[str]:
    """Yield a command for each problem; ``workspace`` is the folder that the repository is in."""
    for row in rows:
        for problem in row.problems if row.failed else ():
            path, line, column = place_problem(row, problem, workspace)
            hint = f"\n{clean(problem.hint, _LONGEST)}" if problem.hint else ""
            properties = {"file": path, "line": str(line), "col": str(column), "title": f"onnxpack: {row.label}"}
            told = ",".join(f"{name}={_escape_property(clean(value))}" for name, value in properties.items())
            yield f"::error {told}::{_escape_data(clean(problem.message, _LONGEST) + hint)}"


def render_outputs(rows: Sequence[Row]) -> str:
    """Return the step's outputs ``images``, ``changed`` and ``failed``, each a JSON list, as lines of its file.

    A list that is too long for GitHub is cut at its end.
    """
    images = [row.image for row in rows if row.ended.state in ("built", "unchanged") and row.image]
    changed = [_describe(row) | {"image": row.image} for row in rows if row.ended.state == "built"]
    failed = [_describe(row) | {"stage": row.stage} for row in rows if row.failed]
    return "".join(
        _render_output(name, values) for name, values in (("images", images), ("changed", changed), ("failed", failed))
    )


def render_summary(rows: Sequence[Row]) -> str:
    """Return the summary as Markdown: the count, a table of what was built or failed, and what failed in full."""
    parts = [f"### {_escape_markdown(count_rows(rows))}\n\n"]
    head, *cells = list_cells(rows) or [()]
    if cells:
        parts += [_render_line(head), _render_line(["---"] * len(head))]
        parts += [_render_line([_escape_markdown(cell) for cell in row]) for row in cells]
    for row in rows:
        if row.failed:
            parts.append(f"\n**{_escape_markdown(row.label)}**\n\n")
            parts += [f"- {_escape_markdown(str(problem))}\n" for problem in row.problems]
    return _bound(parts)


def _describe(row: Row) -> dict[str, str]:
    return {"spec": str(row.spec), "name": row.name, "target": row.target}


def _render_output(name: str, values: Sequence[object]) -> str:
    text = json.dumps(values)
    while len(text) > _OUTPUT_LIMIT:
        values = values[: len(values) // 2]
        text = json.dumps(values)
    # The value has no line of its own to end with: even so, nobody could guess the word that ends it.
    end = secrets.token_hex(16)
    return f"{name}<<{end}\n{text}\n{end}\n"


def _bound(parts: Sequence[str]) -> str:
    """Join parts as far as there is room for them."""
    found: list[str] = []
    size = 0
    for part in parts:
        size += len(part.encode())
        if size > _SUMMARY_LIMIT:
            return "".join([*found, "\n… the rest is in the log\n"])
        found.append(part)
    return "".join(found) + "\n"


def _render_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line and in one cell of a table."""
    return "".join(f"&#{ord(char)};" if char in "\\`*_{}[]<>()#+!|&~@:" else char for char in clean(text, _LONGEST))


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")
