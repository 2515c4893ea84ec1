"""Shows the builds of many specs: in one live view on a terminal, by a line or two for each elsewhere."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import click

from onnxpack.cli.failure import tell_outcome
from onnxpack.core.text import clean, format_table, make_printable
from onnxpack.fleet.events import AnyEvent, StageBegan, Started, Warned
from onnxpack.fleet.rows import STATES, Row, count_rows, list_cells

if TYPE_CHECKING:
    from rich.console import RenderableType

_FRAMES_PER_SECOND = 8
_LONGEST_MESSAGE = 200


class PlainView:
    """The view for logs: a line when a target's first stage begins to work, and one when the target has ended.

    Nothing is said of a target that is unchanged.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._ended = 0
        self._begun: set[str] = set()
        self._warned: set[str] = set()

    def __enter__(self) -> "PlainView":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        """Do nothing: every line is whole."""

    def hear(self, row: Row, event: AnyEvent) -> None:
        """Show that a target is at work."""
        if isinstance(event, Warned) and event.text not in self._warned:  # several processes say the same
            self._warned.add(event.text)
            self.say(f"note: {event.text}")
        if isinstance(event, StageBegan) and row.label not in self._begun:
            self._begun.add(row.label)
            self.say(f"{row.label} …")

    def end(self, row: Row) -> None:
        """Show what became of a target."""
        self._ended += 1
        if row.ended.state in ("built", "failed"):
            width = len(str(self._count))
            self.say(f"[{self._ended:>{width}}/{self._count}] {_describe_end(row)}")

    def say(self, line: str) -> None:
        """Print a line."""
        click.echo(clean(line, _LONGEST_MESSAGE + len(line)), err=True)

    def close(self, rows: Sequence[Row]) -> None:
        """Show every failure in full, a table of what was built or failed, and the count of all."""
        for row in rows:
            if row.failed:
                click.echo(click.style(f"\n{make_printable(row.label)}", bold=True), err=True)
                tell_outcome(row.ended)
        if cells := list_cells(rows):
            click.echo("\n".join(["", *format_table(cells, right=(3, 4)), ""]), err=True)
        click.echo(count_rows(rows), err=True)


@dataclass
class _Running:
    """A target at work, for the live view."""

    label: str
    started: float
    stage: str = ""


class LiveView(PlainView):
    """The view for a terminal: what runs, since when and at which stage, below what was built or failed so far."""

    def __init__(self, count: int) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(count)
        self._running: dict[int, _Running] = {}
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            get_renderable=self._draw, console=self._console, refresh_per_second=_FRAMES_PER_SECOND, transient=True
        )

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        """Take the view away, and leave the lines above it."""
        self._live.stop()

    def hear(self, row: Row, event: AnyEvent) -> None:
        """Show what runs, and at which stage it is."""
        if isinstance(event, Started):
            self._running[event.job] = _Running(row.label, time.monotonic())
        elif isinstance(event, StageBegan) and event.job in self._running:
            self._running[event.job].stage = event.stage
        elif isinstance(event, Warned):
            super().hear(row, event)

    def end(self, row: Row) -> None:
        """Show what became of a target."""
        self._running.pop(row.ended.job, None)
        super().end(row)

    def say(self, line: str) -> None:
        """Print a line above the live view."""
        from rich.text import Text

        text = Text(clean(line, _LONGEST_MESSAGE + len(line)))
        self._console.print(text, no_wrap=True, overflow="ellipsis")

    def _draw(self) -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now, running = time.monotonic(), list(self._running.values())
        rows = Table.grid(padding=(0, 2))
        for one in running[: max(self._console.height - 4, 1)]:
            time_shown = Text(f"{now - one.started:.0f} s", justify="right")
            rows.add_row(Text(clean(one.label), style="bold"), Text(clean(one.stage)), time_shown)
        foot = Table.grid(padding=(0, 2))
        counted = Text(f"[{self._ended}/{self._count}]")  # as a string it would be markup
        foot.add_row(ProgressBar(total=self._count, completed=self._ended, width=30), counted)
        return Group(rows, foot)


def choose_view(count: int) -> PlainView:
    """Return the view of several specs, which have ``count`` targets: live on a terminal, else plain."""
    return LiveView(count) if sys.stderr.isatty() else PlainView(count)


def _describe_end(row: Row) -> str:
    """Return what became of a target in one line."""
    if not row.failed:
        parts = [f"{row.label}: {STATES[row.ended.state]} in {row.time}", row.size, row.image]
        return ", ".join(part for part in parts if part)
    first = row.problems[0]
    words = clean(f"{first.where}: {first.message}" if first.where else first.message, _LONGEST_MESSAGE)
    return f"failed: {words}" if words.startswith(row.label) else f"{row.label}: failed: {words}"
