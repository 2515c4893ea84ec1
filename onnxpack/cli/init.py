"""``onnxpack init``: a first spec for a model."""

from pathlib import Path
from typing import Any

import click

from onnxpack.cli.arguments import SANDBOX


@click.command("init")
@click.argument("path", required=False, metavar="[MODEL]", type=click.Path(path_type=Path))
@click.option("--from", "factory", metavar="FILE.py:NAME", help="torch: code that makes the module; it is run.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME:DTYPE:SHAPE",
    help="An input, as x:float32:batch,3,32,32; repeat it in the order of the model's arguments.",
)  # fmt: skip
@click.option("--kwargs", default="{}", metavar="YAML", help="torch: the code's arguments, as '{hidden: 64}'.")
@click.option("--trust", is_flag=True, help="Load a pickle, which can run any code in it.")
@click.option("--output", type=click.Path(path_type=Path), help="Where the spec goes; else spec.yaml beside the model.")
@click.option("--force", is_flag=True, help="Overwrite what stands there.")
@SANDBOX
@click.pass_context
def command(
    ctx: click.Context,
    /,
    output: Path | None,
    force: bool,
    **what: Any,
) -> None:
    """Look into MODEL or torch code, and write a first spec.

    MODEL is an .onnx file, an estimator, torch weights, a .keras file, or a folder as transformers saves it.

    The spec's path goes to stdout. It is valid; what the model does not tell is marked with "check" in it.
    """
    from onnxpack.core.text import plural
    from onnxpack.inspection.begin import Wish, begin

    wish = Wish(**what)
    destination = output or wish.beside / "spec.yaml"
    draft = begin(wish, destination, force=force)
    say = "says" if draft.checks == 1 else "say"
    click.echo(f"{destination}: written; {plural(draft.checks, 'line')} in it {say} 'check'", err=True)
    click.echo(destination)
    ctx.exit(0)
