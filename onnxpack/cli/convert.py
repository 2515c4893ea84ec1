"""``onnxpack convert``: an ONNX file as a SavedModel or TFLite file."""

from pathlib import Path

import click

from onnxpack.cli.arguments import SANDBOX, each
from onnxpack.cli.bench import read_axis_sizes
from onnxpack.cli.progress import progress
from onnxpack.core.errors import Location, Problem, SpecError


@click.command("convert")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", "kind", required=True, type=click.Choice(["savedmodel", "tflite"]), help="What it becomes.")
@click.option("--output", type=click.Path(path_type=Path), help="A folder, or for tflite a file; else beside it.")
@click.option("--size", "sizes", multiple=True, metavar="AXIS=N", help="Fix the size of an axis; repeatable.")
@SANDBOX
@click.option("--json", "as_json", is_flag=True, help="Print what was compared as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    kind: str,
    output: Path | None,
    sizes: tuple[str, ...],
    sandbox: bool,
    as_json: bool,
) -> None:
    """Convert MODEL, an ONNX file, with onnx2tf in an environment of its own, and compare both.

    The first axis stays dynamic if it is; all others get one size. The path goes to stdout, everything else to stderr.
    Exit status: 0 done, 2 usage, 3 it cannot be converted, 4 it answers otherwise, 5 the package index.
    """
    from onnxpack.cli.user_store import open_store
    from onnxpack.convert.conversion import KINDS, Conversion, as_text, convert

    wanted = read_axis_sizes(sizes)

    def one(path: Path) -> None:
        if not path.is_file():
            raise SpecError(Problem("there is no such file", "check the path", Location(str(path))))
        place = output or path.with_name(f"{path.stem}{KINDS[kind] or '-savedmodel'}")
        asked = Conversion(path, kind, place.absolute(), wanted, sandbox)
        found = convert(asked, open_store(), progress(path.name))
        for axis, size in found.fixed.items():
            click.echo(f"  axis '{axis}' is {size} now", err=True)
        for name in found.layouts:
            click.echo(f"  output '{name}' has its channels last now", err=True)
        click.echo(as_text(found) if as_json else found.path)

    ctx.exit(each([model], one))
