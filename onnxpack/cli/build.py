"""``onnxpack build``."""

import json
from pathlib import Path

import click

from onnxpack.cli.arguments import SETTINGS, SPECS, each, spec_files
from onnxpack.cli.progress import progress
from onnxpack.errors import SpecError
from onnxpack.spec.load import load
from onnxpack.spec.wording import closest

_STAGES = ("export", "verify", "precision", "optimize", "bundle", "image", "smoke")


@click.command("build")
@SPECS
@SETTINGS
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Build this target alone; repeatable.")
@click.option("--until", type=click.Choice(_STAGES), default=_STAGES[-1], help="Stop after this stage.")
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
@click.option("--json", "as_json", is_flag=True, help="Print the reports as one JSON list.")
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
    as_json: bool,
) -> None:
    """Build each SPEC, a file or a folder of them, into a verified image per target.

    The image's reference goes to stdout, everything else to stderr. Exit status: 0 done, 2 usage or spec, 3 source
    model or export, 4 a gate failed, 5 engine, registry, network or disk, 130 interrupted, 1 a bug.
    """
    from onnxpack.engines.docker import DockerEngine
    from onnxpack.pipeline import build
    from onnxpack.plan import Plan
    from onnxpack.precision.candidates import table
    from onnxpack.report import document
    from onnxpack.stages.run import Build
    from onnxpack.store import Store, default_root

    if engine == "none":
        until = min(until, "bundle", key=_STAGES.index)
    store = Store(default_root(), fresh=no_cache)
    documents = []

    def one(path: Path) -> None:
        file = load(path, settings)
        for name in targets or file.spec.targets:
            if name not in file.spec.targets:
                raise SpecError(f"{path} has no target '{name}'", closest(name, file.spec.targets))
            plan = Plan(file, name, output.absolute() / file.spec.name / name)
            click.echo(click.style(f"{file.spec.name}, target {name}", bold=True), err=True)
            built = build(Build(plan, store, DockerEngine(), progress(), until, budget))
            documents.append(document(built))
            if built.candidates:
                click.echo(table(built.candidates), err=True)
            if not as_json:
                click.echo(built.references[0] if built.references else plan.result(until))

    status = each(spec_files(specs), one)
    if as_json:
        click.echo(json.dumps(documents, indent=2))
    ctx.exit(status)
