"""``onnxpack validate``: no framework is imported, nothing is written."""

from pathlib import Path

import click

from onnxpack.cli.arguments import SPECS, each, spec_files
from onnxpack.spec.load import load


@click.command("validate")
@SPECS
@click.pass_context
def command(ctx: click.Context, specs: tuple[Path, ...]) -> None:
    """Check each SPEC, a file or a folder of them: fields, values, and the files that it names."""
    paths = spec_files(specs)
    status = each(paths, lambda path: _valid(path))
    ctx.exit(status)


def _valid(path: Path) -> None:
    load(path)
    click.echo(f"{path}: valid", err=True)
