"""The loop of verbs over all targets of several specs: each target leaves a document, passed or failed."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from onnxpack.cli.arguments import spec_files
from onnxpack.core.errors import OnnxpackError
from onnxpack.spec.load import SpecFile, choose_targets, load
from onnxpack.spec.trust import trust_code


@dataclass(frozen=True)
class Choice:
    """The options that hold for every spec: changed fields, the targets, and how its code may run."""

    settings: tuple[str, ...]
    targets: tuple[str, ...]
    trust: bool
    sandbox: bool

    def load(self, path: Path) -> SpecFile:
        """Read a spec whose code may be run.

        Raises:
            SpecError: it is not valid, or names code that needs trust.
        """
        return trust_code(load(path, self.settings), trusted=self.trust)


class EachTarget(ABC):
    """A verb that works on one target after another, and remembers what came of each."""

    stage: str
    """The stage that a failure is reported in."""

    def __init__(self, choice: Choice, *, show: bool) -> None:
        """Set up the loop: ``show`` prints results for a person, else the documents are printed at the end."""
        self.choice = choice
        self.show = show
        self.documents: list[dict[str, Any]] = []
        self.status = 0
        """The first failure's exit code, else 0."""

    def run(self, specs: Iterable[Path]) -> int:
        """Go through the specs, files and folders of them; return the exit status.

        Raises:
            SpecError: a folder holds no spec.
        """
        for path in spec_files(specs):
            self._add(path)
        if not self.show:
            click.echo(json.dumps(self.documents, indent=2))
        return self.status

    def _add(self, path: Path) -> None:
        from onnxpack.pipeline.report import describe_failed_attempt

        try:
            file = self.choice.load(path)
            names = choose_targets(file, self.choice.targets)
        except OnnxpackError as error:
            self.fail(describe_failed_attempt(str(path), "spec", error), error)
            return
        for name in names:
            try:
                self.work(file, name)
            except (OnnxpackError, OSError) as error:
                place = {"name": file.spec.name, "target": name}
                self.fail(describe_failed_attempt(str(path), self.stage, error) | place, error)

    @abstractmethod
    def work(self, file: SpecFile, target: str) -> None:
        """Do the verb's work for one target, and add its document.

        Raises:
            OnnxpackError: it failed; the caller tells it, and adds the document of that.
        """

    def fail(self, document: dict[str, Any], error: Exception) -> None:
        """Tell an error, and add the document of what failed."""
        from onnxpack.cli.failure import tell

        self.documents.append(document)
        code = tell(error)
        self.status = self.status or code


def announce(file: SpecFile, target: str) -> None:
    """Say which target comes now."""
    click.echo(click.style(f"{file.spec.name}, target {target}", bold=True), err=True)
