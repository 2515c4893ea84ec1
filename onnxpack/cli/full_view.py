"""Shows the builds of one spec in full: every stage of each target, and the summary of what was made."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

from onnxpack.cli.failure import tell_outcome
from onnxpack.cli.progress import LiveProgress, PlainProgress, progress
from onnxpack.fleet.events import AnyEvent, Noted, StageBegan, StageEnded, StageSkipped, Started

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxpack.fleet.rows import Row
    from onnxpack.pipeline.report import Attempt


class FullView:
    """The view of one spec, whose targets are built in this process, one after another."""

    def __init__(self) -> None:
        self._progress: PlainProgress | LiveProgress = progress()
        self._started = 0.0
        self._attempt: Attempt | None = None

    def __enter__(self) -> "FullView":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        """Do nothing: each stage ends its own line."""

    def look(self, attempt: "Attempt") -> None:
        """Keep an attempt, whose summary needs more than its outcome."""
        self._attempt = attempt

    def hear(self, row: "Row", event: AnyEvent) -> None:
        """Show what happens to a target."""
        match event:
            case Started():
                click.echo(click.style(f"{row.name}, target {row.target}", bold=True), err=True)
                self._progress, self._started = progress(row.target), time.monotonic()
            case StageBegan(stage=stage):
                self._progress.begin(stage)
            case StageEnded(passed=passed):
                self._progress.end(passed=passed)
            case StageSkipped(stage=stage, why=why):
                self._progress.skip(stage, why)
            case Noted(text=text):
                self._progress.note(text)

    def end(self, row: "Row") -> None:
        """Show what became of a target."""
        from onnxpack.cli.summary import summarize
        from onnxpack.precision.candidates import format_candidates

        attempt, self._attempt = self._attempt, None
        if row.failed:
            tell_outcome(row.ended)
        elif attempt:
            if attempt.product.candidates:
                click.echo(format_candidates(attempt.product.candidates), err=True)
            click.echo("\n".join(summarize(attempt, time.monotonic() - self._started)), err=True)
        elif row.ended.state == "unchanged":
            click.echo(f"{row.name}, target {row.target}: unchanged", err=True)

    def close(self, rows: "Sequence[Row]") -> None:
        """Do nothing: all was shown."""
