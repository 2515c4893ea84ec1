"""Shows a build's progress on stderr: one live line on a terminal, plain lines elsewhere."""

import shutil
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import click

from onnxpack.core.text import make_printable

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PERIOD = 0.1
"""Seconds between two frames: fast enough to look alive, and nothing to a CPU."""
_WIDTH = 28
"""Columns of a stage's name, so that times stand below each other: `precision int8-dynamic` and its target fit."""


class _Stages(ABC):
    """What both kinds of progress share: a stage is a block, or a begin and an end that are told."""

    def __init__(self, target: str = "") -> None:
        self._target = target

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show that a stage works as long as the block lasts, and how it ended."""
        self.begin(name)
        passed = False
        try:
            yield
            passed = True
        finally:
            self.end(passed=passed)

    @abstractmethod
    def begin(self, name: str) -> None:
        """Show that a stage begins to work; an ``end`` follows in any case."""

    @abstractmethod
    def end(self, *, passed: bool) -> None:
        """Show that the stage has ended."""


class PlainProgress(_Stages):
    """Progress as plain lines, for logs: one when a stage starts, and one when it ends."""

    def begin(self, name: str) -> None:
        """Print that the work starts."""
        # A log has no live line: without one at the start nobody sees what a build waits for.
        click.echo(f"{_title(self._target, name)} …", err=True)
        self._name, self._started = name, time.monotonic()

    def end(self, *, passed: bool) -> None:
        """Print how long the work took, if it ended well."""
        if passed:
            click.echo(_row(self._target, self._name, _time_since(self._started)), err=True)

    def note(self, text: str) -> None:
        """Print an indented line."""
        click.echo(f"  {_flatten(text)}", err=True)

    def skip(self, name: str, why: str) -> None:
        """Print a line for a stage whose result is reused."""
        click.echo(_row(self._target, name, f"  {why}"), err=True)


class LiveProgress(_Stages):
    """Progress as one line that is repainted while a stage works, and stays as its summary."""

    def __init__(self, target: str = "") -> None:
        super().__init__(target)
        self._note = ""

    def begin(self, name: str) -> None:
        """Paint the line until the stage ends."""
        self._note = ""
        self._name, self._started, self._done = name, time.monotonic(), threading.Event()
        self._painter = threading.Thread(target=self._paint, args=(name, self._started, self._done), daemon=True)
        self._painter.start()

    def end(self, *, passed: bool) -> None:
        """Leave a line that says how the stage ended."""
        self._done.set()
        self._painter.join()  # else a last frame could be painted over the summary
        mark = click.style("✓", fg="green") if passed else click.style("✗", fg="red")
        self._line(f"{mark} {_row(self._target, self._name, _time_since(self._started))}", end="\n")

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
