"""Shows a build's progress on stderr: one live line on a terminal, plain lines elsewhere."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PERIOD = 0.1  # seconds


class PlainProgress:
    """Progress as plain lines, for logs: one when a stage starts, and one when it ends."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Print when the work starts, and how long it took if it ended well."""
        click.echo(f"{name} …", err=True)
        started = time.monotonic()
        yield
        click.echo(f"{name} done in {time.monotonic() - started:.1f} s", err=True)

    def note(self, text: str) -> None:
        """Print an indented line."""
        click.echo(f"  {text}", err=True)

    def skipped(self, name: str, why: str) -> None:
        """Print a line for a stage whose result is reused."""
        click.echo(f"{name} {why}", err=True)


class LiveProgress:
    """Progress as one line that is repainted while a stage works, and stays as its summary."""

    def __init__(self) -> None:
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
            painter.join()
            mark = click.style("✗", fg="red") if failed else click.style("✓", fg="green")
            self._line(f"{mark} {name:<8} {time.monotonic() - started:6.1f} s", end="\n")

    def note(self, text: str) -> None:
        """Show a text behind the stage until the next one."""
        self._note = text

    def skipped(self, name: str, why: str) -> None:
        """Leave a line for a stage whose result is reused."""
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


def progress() -> PlainProgress | LiveProgress:
    """Return the live progress on a terminal, else the plain one."""
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()
