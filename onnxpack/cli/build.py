"""``onnxpack build``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpack.cli.arguments import SANDBOX, SETTINGS, SPECS, TRUST, chosen_targets, spec_files
from onnxpack.cli.progress import progress
from onnxpack.errors import OnnxpackError, Problem, SpecError
from onnxpack.pipeline import UNTIL, WHOLE
from onnxpack.spec.load import SpecFile, load
from onnxpack.spec.trust import trust_code

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
    from onnxpack.pipeline.attempt import Wanted
    from onnxpack.store import Store, default_root

    if engine == "none":
        until = min(until, "bundle", key=UNTIL.index)
    asked = _Asked(
        settings, targets, output.absolute(), Wanted(until, keep_last), budget, require_gates, trust, sandbox
    )
    builds = _Builds(asked, Store(default_root(), fresh=no_cache), show=not as_json)
    for path in spec_files(specs):
        builds.add(path)
    if as_json:
        click.echo(json.dumps(builds.documents, indent=2))
    ctx.exit(builds.status)


@dataclass(frozen=True)
class _Asked:
    """What the command line says about every spec."""

    settings: tuple[str, ...]
    targets: tuple[str, ...]
    output: Path
    wanted: "Wanted"
    budget: float
    require_gates: bool
    trust: bool
    sandbox: bool


class _Builds:
    """All builds of one command: each has a document, whether it passed or failed."""

    def __init__(self, asked: _Asked, store: "Store", *, show: bool) -> None:
        self.documents: list[dict[str, Any]] = []
        self.status = 0
        self._asked = asked
        self._store = store
        self._show = show
        self._places: dict[Path, Path] = {}
        """Which spec of this command builds into which folder."""

    def add(self, path: Path) -> None:
        """Build the targets of one spec; what fails is told, and the first failure's exit code is kept."""
        from onnxpack.pipeline.attempt import mark_failed
        from onnxpack.pipeline.report import failed_document

        try:
            file = trust_code(load(path, self._asked.settings), trusted=self._asked.trust)
            names = chosen_targets(file, self._asked.targets)
        except OnnxpackError as error:
            self._tell(error)
            mark_failed(self._asked.output, path, error)
            self.documents.append(failed_document(str(path), "spec", error))
            return
        for name in names:
            try:
                self._build(file, name)
            except OnnxpackError as error:  # the place of its outputs is taken: nothing was changed there
                self._tell(error)
                failed = failed_document(str(path), "output", error)
                self.documents.append(failed | {"name": file.spec.name, "target": name})

    def _build(self, file: SpecFile, target: str) -> None:
        from onnxpack.engines.docker import DockerEngine
        from onnxpack.pipeline.attempt import build
        from onnxpack.pipeline.report import document
        from onnxpack.pipeline.run import Build
        from onnxpack.plan import Plan

        asked = self._asked
        plan = Plan(file, target, _output_of(asked, file.spec.name, target), asked.sandbox)
        first = self._places.setdefault(plan.output, file.path)
        if first != file.path:
            text = f"'{first.name}' in {first.parent} builds '{file.spec.name}', target '{target}' too"
            raise SpecError(Problem(text, "give each spec a `name` of its own", file.where("name")))
        click.echo(click.style(f"{file.spec.name}, target {target}", bold=True), err=True)
        run = Build(plan, self._store, DockerEngine(), progress(), asked.budget, asked.require_gates)
        attempt = build(run, asked.wanted)
        self.documents.append(document(attempt))
        if attempt.error:
            self._tell(attempt.error)
        else:
            self._show_result(attempt)

    def _show_result(self, attempt: "Attempt") -> None:
        from onnxpack.precision.candidates import table

        product = attempt.product
        if product.candidates:
            click.echo(table(product.candidates), err=True)
        elif scored := product.evaluation:
            words = f"{scored.metric} {scored.model:.6g}; the source model has {scored.source:.6g}"
            click.echo(words, err=True)
        if self._show:
            click.echo(product.references[0] if product.references else attempt.plan.result(attempt.until))

    def _tell(self, error: Exception) -> None:
        from onnxpack.cli.failure import tell

        code = tell(error)
        self.status = self.status or code


def _output_of(asked: _Asked, name: str, target: str) -> Path:
    """Return where the outputs go: a model that was made on the way never takes the place of a finished bundle."""
    until = asked.wanted.until
    return asked.output / name / (target if until in WHOLE else f"{target}.{until}")
