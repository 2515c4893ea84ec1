"""Shows a build's progress on stderr: one live line on a terminal, plain lines elsewhere."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from onnxpack.cli.failure import make_printable

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PERIOD = 0.1
"""Seconds between two frames: fast enough to look alive, and nothing to a CPU."""
_WIDTH = 28
"""Columns of a stage's name, so that times stand below each other: `precision int8-dynamic` and its target fit."""


class PlainProgress:
    """Progress as plain lines, for logs: one when a stage starts, and one when it ends."""

    def __init__(self, target: str = "") -> None:
        self._target = target

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Print when the work starts, and how long it took if it ended well."""
        # A log has no live line: without one at the start nobody sees what a build waits for.
        click.echo(f"{_title(self._target, name)} …", err=True)
        started = time.monotonic()
        yield
        click.echo(_row(self._target, name, _time_since(started)), err=True)

    def note(self, text: str) -> None:
        """Print an indented line."""
        click.echo(f"  {_flatten(text)}", err=True)

    def skip(self, name: str, why: str) -> None:
        """Print a line for a stage whose result is reused."""
        click.echo(_row(self._target, name, f"  {why}"), err=True)


class LiveProgress:
    """Progress as one line that is repainted while a stage works, and stays as its summary."""

    def __init__(self, target: str = "") -> None:
        self._target = target
        self._note = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Paint the line until the work ends, and leave one that says how it ended."""
        self._note = ""
        started = time.monotonic()
        done = threading.Event()
        painter = threading.Thread(target=self._paint, args=(name, started, done), daemon=True)
        painter.start()
        failed = True
        try:
            yield
            failed = False
        finally:
            done.set()
            painter.join()  # else a last frame could be painted over the summary
            mark = click.style("✗", fg="red") if failed else click.style("✓", fg="green")
            self._line(f"{mark} {_row(self._target, name, _time_since(started))}", end="\n")

    def note(self, text: str) -> None:
        """Show a text behind the stage until the next one."""
        self._note = _flatten(text)

    def skip(self, name: str, why: str) -> None:
        """Leave a line for a stage whose result is reused."""
        self._line(f"{click.style('✓', fg='green')} {_row(self._target, name, f'  {why}')}", end="\n")

    def _paint(self, name: str, started: float, done: threading.Event) -> None:
        frame = 0
        while not done.wait(_PERIOD):
            frame += 1
            spinner = click.style(_FRAMES[frame % len(_FRAMES)], fg="cyan")
            row = _row(self._target, name, _time_since(started))
            # A line that wraps cannot be repainted: the carriage return goes back to its last row alone.
            room = max(shutil.get_terminal_size().columns - len(row) - 6, 0)
            self._line(f"{spinner} {row}  {self._note[:room]}")

    @staticmethod
    def _line(text: str, end: str = "") -> None:
        # Back to the first column, and erase the line (ECMA-48): what stood there may have been longer.
        sys.stderr.write(f"\r\x1b[2K{text}{end}")
        sys.stderr.flush()


def _flatten(text: str) -> str:
    """Return one line that a terminal only shows: a task's words may be those of a model's code."""
    return " ".join(make_printable(text).split())


def _title(target: str, name: str) -> str:
    return f"{target}: {name}" if target else name


def _row(target: str, name: str, outcome: str) -> str:
    return f"{_title(target, name):<{_WIDTH}}{outcome}"


def _time_since(started: float) -> str:
    return f"{time.monotonic() - started:8.1f} s"


def progress(target: str = "") -> PlainProgress | LiveProgress:
    """Return the live progress on a terminal, else the plain one; its lines begin with the name of the ``target``."""
    return LiveProgress(target) if sys.stderr.isatty() else PlainProgress(target)
