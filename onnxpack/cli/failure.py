"""Prints errors for a person."""

import os
import sys
import tempfile
import traceback
from pathlib import Path

import click

from onnxpack import __version__
from onnxpack.core.errors import Location, Problem, classify_error
from onnxpack.core.redact import redact
from onnxpack.core.text import make_printable
from onnxpack.fleet.job import Outcome, read_problems


def tell(error: Exception) -> int:
    """Print the error on stderr and return its exit code."""
    known = classify_error(error)
    if known is None:
        return tell_bug(f"unexpected {type(error).__name__}: {error}", "".join(traceback.format_exception(error)))
    click.echo("\n".join(describe(problem) for problem in known.problems), err=True)
    return known.exit_code


def tell_outcome(outcome: Outcome) -> None:
    """Print why a build of a fleet failed."""
    if outcome.error:
        tell(outcome.error)
    else:
        tell_bug(read_problems(outcome.document)[0].message, outcome.crash)


def describe(problem: Problem) -> str:
    """Return a problem in a few lines: where and what, the line of the file with a caret, the hint, the detail."""
    where = f"{problem.where}: " if problem.where else ""
    lines = [f"{click.style('error', fg='red', bold=True)}: {make_printable(where + problem.message)}"]
    if problem.where and problem.where.line:
        lines += _quote_line(problem.where)
    if problem.hint:
        lines.append(f"  {click.style('→', fg='green')} {make_printable(problem.hint)}")
    if problem.detail:
        lines += [f"  {make_printable(line)}" for line in problem.detail.rstrip().splitlines()]
    return "\n".join(lines)


def _quote_line(where: Location) -> list[str]:
    """Return the line that the problem is in, with a caret below its column."""
    try:
        with Path(where.file).open(encoding="utf-8-sig") as stream:
            text = next((line for number, line in enumerate(stream, 1) if number == where.line), "")
    except (OSError, ValueError):
        return []
    text = redact(text.rstrip().replace("\t", " "), keep_width=True)
    # Below a line that wraps, or holds what a terminal obeys, the caret would point somewhere else.
    if not text or not text.isprintable() or len(text) > 160:
        return []
    number = f"{where.line:>5}"
    return [f"{number} | {text}", f"{' ' * len(number)} | {' ' * (where.column - 1)}^"]


def tell_bug(words: str, stack: str) -> int:
    """Print an error that nobody expected, with the file that its stack was written to; return its exit code."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="onnxpack-bug-", suffix=".txt", delete=False, encoding="utf-8"
    ) as stream:
        stream.write(f"onnxpack {__version__}, Python {sys.version}, {os.uname().sysname} {os.uname().machine}\n")
        stream.write(redact(stack))
    click.echo(
        f"error: {make_printable(redact(words))}\n"
        f"  This is a bug in onnxpack. Please report it with the file {stream.name}",
        err=True,
    )
    return 1
