"""``onnxpack verify``: source and verification alone."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpack.cli.arguments import SANDBOX, SETTINGS, SPECS, TRUST, chosen_targets, spec_files
from onnxpack.cli.progress import progress
from onnxpack.errors import OnnxpackError
from onnxpack.spec.load import SpecFile, load
from onnxpack.spec.trust import trust_code

if TYPE_CHECKING:
    from onnxpack.report import Parity
    from onnxpack.store import Store


@click.command("verify")
@SPECS
@SETTINGS
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Verify this target alone; repeatable.")
@click.option("--no-cache", is_flag=True, help="Take nothing that an earlier build made.")
@TRUST
@SANDBOX
@click.option("--json", "as_json", is_flag=True, help="Print what was compared as one JSON list.")
@click.pass_context
def command(
    ctx: click.Context,
    specs: tuple[Path, ...],
    settings: tuple[str, ...],
    targets: tuple[str, ...],
    no_cache: bool,
    trust: bool,
    sandbox: bool,
    as_json: bool,
) -> None:
    """Export each SPEC's model and compare it with its source, steps included: no image, nothing in dist.

    A table of every output's differences goes to stdout, everything else to stderr. Exit status: 0 they agree,
    2 usage or spec, 3 source model or export, 4 they differ.
    """
    from onnxpack.store import Store, default_root

    checks = _Checks(_Asked(settings, targets, trust, sandbox), Store(default_root(), fresh=no_cache), show=not as_json)
    for path in spec_files(specs):
        checks.add(path)
    if as_json:
        click.echo(json.dumps(checks.documents, indent=2))
    ctx.exit(checks.status)


@dataclass(frozen=True)
class _Asked:
    """What the command line says about every spec."""

    settings: tuple[str, ...]
    targets: tuple[str, ...]
    trust: bool
    sandbox: bool


class _Checks:
    """All comparisons of one command: each has a document, whether it passed or failed."""

    def __init__(self, asked: _Asked, store: "Store", *, show: bool) -> None:
        self.documents: list[dict[str, Any]] = []
        self.status = 0
        self._asked = asked
        self._store = store
        self._show = show

    def add(self, path: Path) -> None:
        """Verify the targets of one spec; what fails is told, and the first failure's exit code is kept."""
        from onnxpack.pipeline.report import failed_document

        try:
            file = trust_code(load(path, self._asked.settings), trusted=self._asked.trust)
            names = chosen_targets(file, self._asked.targets)
        except OnnxpackError as error:
            self._fail(failed_document(str(path), "spec", error), error)
            return
        for name in names:
            place = {"name": file.spec.name, "target": name}
            click.echo(click.style(f"{file.spec.name}, target {name}", bold=True), err=True)
            try:
                self._show_parity(place | {"status": "passed"}, self._verify(file, name))
            except (OnnxpackError, OSError) as error:
                self._fail(failed_document(str(path), "verify", error) | place, error)

    def _verify(self, file: SpecFile, target: str) -> "Parity":
        from onnxpack.engines.docker import DockerEngine
        from onnxpack.pipeline.chain import chain, walk
        from onnxpack.pipeline.run import Build, Product
        from onnxpack.plan import Plan

        plan = Plan(file, target, Path(), self._asked.sandbox)
        run = Build(plan, self._store, DockerEngine(), progress())
        parity = walk(run, chain(plan, "verify"), Product()).parity
        assert parity
        return parity

    def _fail(self, document: dict[str, Any], error: Exception) -> None:
        from onnxpack.cli.failure import tell
        from onnxpack.report import parity_of
        from onnxpack.verify import ParityError

        if isinstance(error, ParityError):
            self._show_parity(document, parity_of(error.rows))
        else:
            self.documents.append(document | {"parity": None})
        code = tell(error)
        self.status = self.status or code

    def _show_parity(self, document: dict[str, Any], parity: "Parity") -> None:
        from onnxpack.report import parity_table

        self.documents.append(document | {"parity": asdict(parity)})
        if self._show:
            click.echo(parity_table(parity))
