"""``onnxpack verify``: source and verification alone."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import click

from onnxpack.cli.arguments import SETTINGS, SPECS, each, spec_files
from onnxpack.cli.progress import progress
from onnxpack.errors import SpecError
from onnxpack.spec.load import load
from onnxpack.spec.wording import closest


@click.command("verify")
@SPECS
@SETTINGS
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Verify this target alone; repeatable.")
@click.option("--no-cache", is_flag=True, help="Take nothing that an earlier build made.")
@click.option("--json", "as_json", is_flag=True, help="Print what was compared as one JSON list.")
@click.pass_context
def command(
    ctx: click.Context,
    specs: tuple[Path, ...],
    settings: tuple[str, ...],
    targets: tuple[str, ...],
    no_cache: bool,
    as_json: bool,
) -> None:
    """Export each SPEC's model and compare it with its source, steps included: no image, nothing in dist.

    A table of every output's differences goes to stdout, everything else to stderr. Exit status: 0 they agree,
    2 usage or spec, 3 source model or export, 4 they differ.
    """
    from onnxpack.engines.docker import DockerEngine
    from onnxpack.plan import Plan
    from onnxpack.report import Parity, parity_of, parity_table
    from onnxpack.stages.changes import with_steps
    from onnxpack.stages.run import Build
    from onnxpack.stages.source import export, verify
    from onnxpack.store import Store, default_root
    from onnxpack.verify import ParityError

    store = Store(default_root(), fresh=no_cache)
    documents = []

    def show(plan: Plan, parity: Parity) -> None:
        documents.append({"name": plan.file.spec.name, "target": plan.target, "parity": asdict(parity)})
        if not as_json:
            click.echo(parity_table(parity))

    def one(path: Path) -> None:
        file = load(path, settings)
        for name in targets or file.spec.targets:
            if name not in file.spec.targets:
                raise SpecError(f"{path} has no target '{name}'", closest(name, file.spec.targets))
            plan = Plan(file, name, Path())
            click.echo(click.style(f"{file.spec.name}, target {name}", bold=True), err=True)
            run = Build(plan, store, DockerEngine(), progress(), "verify")
            built, exported = export(run)
            try:
                built = with_steps(run, replace(built, parity=verify(run, built.model, exported)), exported)
            except ParityError as error:
                show(plan, parity_of(error.rows, exported.reference.notes))
                raise
            assert built.parity
            show(plan, built.parity)

    status = each(spec_files(specs), one)
    if as_json:
        click.echo(json.dumps(documents, indent=2))
    ctx.exit(status)
