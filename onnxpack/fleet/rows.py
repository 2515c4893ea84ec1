"""What a command builds, target by target in the order of its specs, and what became of each: for tables and files."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpack.core.errors import Problem
from onnxpack.core.text import format_bytes, plural
from onnxpack.fleet.job import Outcome, State, read_problems

STATES: dict[State, str] = {"unchanged": "unchanged", "built": "built", "failed": "failed", "cancelled": "not built"}
"""What became of a target, in words, in the order in which they are counted."""


@dataclass(frozen=True)
class Row:
    """One target of a command, or a spec as a whole: one that cannot be read, or what belongs to all its targets."""

    spec: Path
    """The spec's file as the user named it."""
    name: str = ""
    target: str = ""
    outcome: Outcome | None = None
    """What became of it; None as long as it is not known."""

    @property
    def label(self) -> str:
        """Return what a person knows it by."""
        return f"{self.name}/{self.target}" if self.target else str(self.spec)

    @property
    def ended(self) -> Outcome:
        """Return its outcome, which must be known."""
        assert self.outcome
        return self.outcome

    @property
    def failed(self) -> bool:
        """Return whether it failed."""
        return self.ended.state == "failed"

    @property
    def stage(self) -> str:
        """Return the stage that it failed in."""
        return str(self.ended.document.get("stage", ""))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return the problems that it failed with."""
        return read_problems(self.ended.document)

    @property
    def image(self) -> str:
        """Return the reference of the image that was built; empty without one."""
        return self.ended.result if self._image else ""

    @property
    def size(self) -> str:
        """Return the size of the image, else of the model, in words; empty without one."""
        size = (self._image or self.ended.document.get("model") or {}).get("size_bytes")
        return format_bytes(size) if size else ""

    @property
    def time(self) -> str:
        """Return how long it took, in words; empty for what took no time of its own."""
        return f"{self.ended.seconds:.1f} s" if self.ended.seconds else ""

    @property
    def _image(self) -> dict[str, Any]:
        return self.ended.document.get("image") or {}


def count_rows(rows: Sequence[Row]) -> str:
    """Return how many specs and targets there are, and what became of them: the last line of a command."""
    specs = len({row.spec for row in rows})
    what = plural(specs, "spec") + (f", {plural(len(rows), 'target')}" if len(rows) != specs else "")
    counted = Counter(row.ended.state for row in rows)
    told = [f"{counted[state]} {words}" for state, words in STATES.items() if counted[state] or state != "cancelled"]
    return f"{what}: {', '.join(told)}"


def place_problem(row: Row, problem: Problem, root: Path) -> tuple[str, int, int]:
    """Return the file of a problem, relative to the folder ``root``, with its line and column.

    It is the spec's first line where a problem has no place, or one outside of ``root``.
    """
    places = [(problem.where.file, problem.where.line, problem.where.column)] if problem.where else []
    for file, line, column in (*places, (str(row.spec), 0, 0)):
        with contextlib.suppress(ValueError):  # it is elsewhere, or has a NUL in it
            return Path(os.path.realpath(file)).relative_to(root.resolve()).as_posix(), max(line, 1), max(column, 1)
    return str(row.spec), 1, 1


def list_cells(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """Return the cells of a table of what was built or failed, with its head; nothing where nothing was."""
    cells = [
        (str(row.spec), row.target, _describe_state(row), row.time, row.size, row.image)
        for row in rows
        if row.ended.state in ("built", "failed")
    ]
    return [("spec", "target", "outcome", "time", "size", "image"), *cells] if cells else []


def _describe_state(row: Row) -> str:
    return f"failed: {row.stage}" if row.failed else STATES[row.ended.state]
