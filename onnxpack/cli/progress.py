"""What a person sees while a build runs: on a terminal one live line, elsewhere plain lines. All on stderr."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from onnxpack.cli.failure import make_printable

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PERIOD = 0.1  # seconds


class PlainProgress:
    """A line when a stage ends, and one when it starts, for logs."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Says when the work starts, and how long it took if it ended well."""
        click.echo(f"{name} …", err=True)
        started = time.monotonic()
        yield
        click.echo(f"{name} done in {time.monotonic() - started:.1f} s", err=True)

    def note(self, text: str) -> None:
        """An indented line."""
        click.echo(f"  {_flatten(text)}", err=True)

    def skipped(self, name: str, why: str) -> None:
        """A line of its own."""
        click.echo(f"{name} {why}", err=True)


class LiveProgress:
    """One line that lives while a stage works, and stays as its summary."""

    def __init__(self) -> None:
        self._note = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Paints until the work ends, and leaves a line that says how."""
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
            painter.join()
            mark = click.style("✗", fg="red") if failed else click.style("✓", fg="green")
            self._line(f"{mark} {name:<8} {time.monotonic() - started:6.1f} s", end="\n")

    def note(self, text: str) -> None:
        """Shown behind the stage until the next one."""
        self._note = _flatten(text)

    def skipped(self, name: str, why: str) -> None:
        """A line that stays."""
        self._line(f"{click.style('✓', fg='green')} {name:<8} {why}", end="\n")

    def _paint(self, name: str, started: float, done: threading.Event) -> None:
        frame = 0
        while not done.wait(_PERIOD):
            frame += 1
            spinner = click.style(_FRAMES[frame % len(_FRAMES)], fg="cyan")
            room = max(shutil.get_terminal_size().columns - 24, 0)
            self._line(f"{spinner} {name:<8} {time.monotonic() - started:6.1f} s  {self._note[:room]}")

    @staticmethod
    def _line(text: str, end: str = "") -> None:
        sys.stderr.write(f"\r\x1b[2K{text}{end}")
        sys.stderr.flush()


def _flatten(text: str) -> str:
    """Return one line that a terminal only shows: a task's words may be those of a model's code."""
    return " ".join(make_printable(text).split())


def progress() -> PlainProgress | LiveProgress:
    """The live one on a terminal, else the plain one."""
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()
