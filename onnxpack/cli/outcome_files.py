"""Tells other programs what became of builds: files for CI, and the words and files that GitHub Actions listens for."""

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from onnxpack.core.scratch import write_whole
from onnxpack.fleet.rows import Row


@dataclass(frozen=True)
class OutcomeFiles:
    """What is to be told, and where."""

    junit: Path | None = None
    code_quality: Path | None = None
    github: bool = False

    @property
    def any(self) -> bool:
        """Return whether anything is to be told."""
        return bool(self.junit or self.code_quality or self.github)

    @contextlib.contextmanager
    def guarding(self) -> Iterator[None]:
        """Let GitHub take nothing for a command that is printed as long as the block lasts.

        It obeys any line that begins with two colons, whoever wrote it: a spec's field, or the log of a model's code.
        """
        if not self.github:
            yield
            return
        token = secrets.token_hex(16)
        click.echo(f"::stop-commands::{token}", err=True)
        try:
            yield
        finally:
            click.echo(f"::{token}::", err=True)

    def write(self, rows: Sequence[Row], seconds: float) -> None:
        """Write all files, each whole or not at all, and tell GitHub; ``seconds`` is what the command took.

        Raises:
            OSError: one cannot be written; the others are.
        """
        from onnxpack.fleet.code_quality import render_code_quality
        from onnxpack.fleet.junit import render_junit

        with contextlib.ExitStack() as rest:
            if self.github:
                rest.callback(self._tell_github, rows)
            if self.code_quality:
                rest.callback(write_whole, self.code_quality, render_code_quality(rows))
            if self.junit:
                rest.callback(write_whole, self.junit, render_junit(rows, seconds))

    @staticmethod
    def _tell_github(rows: Sequence[Row]) -> None:
        from onnxpack.fleet.github import list_annotations, render_outputs, render_summary

        for line in list_annotations(rows, Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())):
            click.echo(line, err=True)
        for variable, text in (("GITHUB_OUTPUT", render_outputs(rows)), ("GITHUB_STEP_SUMMARY", render_summary(rows))):
            place = os.environ.get(variable)
            if place:
                # Others write into the same file: what stands there stays.
                with Path(place).open("a", encoding="utf-8") as stream:
                    stream.write(text)
