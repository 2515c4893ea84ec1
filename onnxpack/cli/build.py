"""``onnxpack build``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxpack.cli.arguments import SANDBOX, SETTINGS, SPECS, TRUST
from onnxpack.cli.each_target import Choice, EachTarget, announce
from onnxpack.cli.progress import progress
from onnxpack.errors import OnnxpackError, Problem, SpecError
from onnxpack.pipeline import UNTIL, WHOLE
from onnxpack.spec.load import SpecFile

if TYPE_CHECKING:
    from onnxpack.pipeline.attempt import Wanted
    from onnxpack.pipeline.report import Attempt
    from onnxpack.store import Store


@click.command("build")
@SPECS
@SETTINGS
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Build this target alone; repeatable.")
@click.option(
    "--until", type=click.Choice(UNTIL), default=UNTIL[-1],
    help="Stop after this stage; before `bundle` the model goes to <name>/<target>.<stage>/.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("dist"), show_default=True,
    help="Where <name>/<target>/ is written.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["docker", "none"]), default="docker", show_default=True,
    help="none leaves a context that `docker build` takes.",
)  # fmt: skip
@click.option(
    "--budget", type=click.FloatRange(min=0), default=600.0, show_default=True, metavar="SECONDS",
    help="How long `precision: auto` may try one precision after another.",
)  # fmt: skip
@click.option("--no-cache", is_flag=True, help="Take nothing that an earlier build made.")
@click.option("--require-gates", is_flag=True, help="Fail, with 4, where a gate cannot be judged.")
@click.option("--keep-last", is_flag=True, help="Put the last good output aside, in the store, if this build fails.")
@TRUST
@SANDBOX
@click.option("--json", "as_json", is_flag=True, help="Print the reports as one JSON list, also of what failed.")
@click.pass_context
def command(
    ctx: click.Context,
    specs: tuple[Path, ...],
    settings: tuple[str, ...],
    targets: tuple[str, ...],
    until: str,
    output: Path,
    engine: str,
    budget: float,
    no_cache: bool,
    require_gates: bool,
    keep_last: bool,
    trust: bool,
    sandbox: bool,
    as_json: bool,
) -> None:
    """Build each SPEC, a file or a folder of them, into a verified image per target.

    The image's reference goes to stdout, everything else to stderr. Exit status: 0 done, 2 usage or spec, 3 source
    model or export, 4 a gate failed, 5 engine, registry, network or disk, 130 interrupted, 1 a bug.
    """
    from onnxpack.cli.user_store import open_store
    from onnxpack.pipeline.attempt import Wanted

    if engine == "none":
        until = min(until, "bundle", key=UNTIL.index)
    how = _How(output.absolute(), Wanted(until, keep_last), budget, require_gates)
    choice = Choice(settings, targets, trust, sandbox)
    ctx.exit(_Builds(choice, how, open_store(fresh=no_cache), show=not as_json).run(specs))


@dataclass(frozen=True)
class _How:
    """What the command line says about every build."""

    output: Path
    wanted: "Wanted"
    budget: float
    require_gates: bool

    def place(self, name: str, target: str) -> Path:
        """Return where the outputs go: a model made on the way never takes the place of a finished bundle."""
        until = self.wanted.until
        return self.output / name / (target if until in WHOLE else f"{target}.{until}")


class _Builds(EachTarget):
    """All builds of one command."""

    stage = "output"  # a build tells its own failures: what is left is that the place of its outputs is taken

    def __init__(self, choice: Choice, how: _How, store: "Store", *, show: bool) -> None:
        super().__init__(choice, show=show)
        self._how = how
        self._store = store
        self._places: dict[Path, Path] = {}
        """Which spec of this command builds into which folder."""

    def lose(self, path: Path, error: OnnxpackError) -> None:
        """Leave no output that could be taken for one of the spec as it is now."""
        from onnxpack.pipeline.attempt import mark_failed

        mark_failed(self._how.output, path, error)

    def work(self, file: SpecFile, target: str) -> None:
        """Build one target."""
        from onnxpack.engines.docker import DockerEngine
        from onnxpack.pipeline.attempt import build
        from onnxpack.pipeline.report import document
        from onnxpack.pipeline.run import Build
        from onnxpack.plan import Plan

        how = self._how
        plan = Plan(file, target, how.place(file.spec.name, target), self.choice.sandbox)
        first = self._places.setdefault(plan.output, file.path)
        if first != file.path:
            text = f"'{first.name}' in {first.parent} builds '{file.spec.name}', target '{target}' too"
            raise SpecError(Problem(text, "give each spec a `name` of its own", file.where("name")))
        announce(file, target)
        run = Build(plan, self._store, DockerEngine(), progress(), how.budget, how.require_gates)
        attempt = build(run, how.wanted)
        if attempt.error:
            self.fail(document(attempt), attempt.error)
        else:
            self.documents.append(document(attempt))
            self._show_result(attempt)

    def _show_result(self, attempt: "Attempt") -> None:
        from onnxpack.precision.candidates import table

        product = attempt.product
        if product.candidates:
            click.echo(table(product.candidates), err=True)
        elif scored := product.evaluation:
            words = f"{scored.metric} {scored.model:.6g}; the source model has {scored.source:.6g}"
            click.echo(words, err=True)
        if self.show:
            click.echo(product.references[0] if product.references else attempt.plan.result(attempt.until))
