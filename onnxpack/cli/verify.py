"""``onnxpack verify``: the export and its verification alone."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpack.cli.arguments import SANDBOX, SETTINGS, SPECS, TRUST
from onnxpack.cli.each_target import Choice, EachTarget, announce
from onnxpack.cli.progress import progress
from onnxpack.spec.load import SpecFile

if TYPE_CHECKING:
    from onnxpack.cache.store import Store
    from onnxpack.parity.summary import Parity


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
    /,
    specs: tuple[Path, ...],
    **options: Any,
) -> None:
    """Export each SPEC's model and compare it with its source, steps included: no image, nothing in dist.

    A table of every output's differences goes to stdout, everything else to stderr. Exit status: 0 they agree,
    2 usage or spec, 3 source model or export, 4 they differ.
    """
    from onnxpack.cli.user_store import open_store

    said = _Options(**options)
    ctx.exit(_Checks(said, open_store(fresh=said.no_cache), show=not said.as_json).run(specs))


@dataclass(frozen=True)
class _Options(Choice):
    """The options of the verb, as click hands them over."""

    no_cache: bool
    as_json: bool


class _Checks(EachTarget):
    """All comparisons of one command."""

    stage = "verify"

    def __init__(self, choice: Choice, store: "Store", *, show: bool) -> None:
        super().__init__(choice, show=show)
        self._store = store

    def work(self, file: SpecFile, target: str) -> None:
        """Compare one target's model with its source."""
        from onnxpack.image import load_engine
        from onnxpack.pipeline.chain import chain, walk
        from onnxpack.pipeline.plan import Plan
        from onnxpack.pipeline.run import Build, Product

        announce(file, target)
        plan = Plan(file, target, Path(), self.choice.sandbox)
        run = Build(plan, self._store, load_engine(), progress(target))
        parity = walk(run, chain(plan, "verify"), Product()).parity
        assert parity
        self._show_table(parity)
        self.documents.append({
            "name": file.spec.name, "target": target, "status": "passed", "parity": asdict(parity),
        })  # fmt: skip

    def fail(self, document: dict[str, Any], error: Exception) -> None:
        """Show all that was compared, also where it differs."""
        from onnxpack.parity.compare import ParityError
        from onnxpack.parity.summary import summarize_parity

        parity = summarize_parity(error.rows) if isinstance(error, ParityError) else None
        if parity:
            self._show_table(parity)
        super().fail(document | {"parity": asdict(parity) if parity else None}, error)

    def _show_table(self, parity: "Parity") -> None:
        from onnxpack.parity.summary import format_parity

        if self.show:
            click.echo(format_parity(parity.outputs))
