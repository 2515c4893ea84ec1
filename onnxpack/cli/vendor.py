"""``onnxpack vendor``: all that builds need from outside, in one file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxpack.cli.arguments import SETTINGS, SPECS, spec_files
from onnxpack.core.errors import OnnxpackError, Problem, SpecError
from onnxpack.spec.load import choose_targets, load

if TYPE_CHECKING:
    from onnxpack.vendor.collect import Chosen
    from onnxpack.vendor.index import VendorIndex


@click.command("vendor")
@SPECS
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The tar to write.",
)  # fmt: skip
@SETTINGS
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Take this target alone; repeatable.")
@click.pass_context
def command(
    ctx: click.Context, specs: tuple[Path, ...], output: Path, settings: tuple[str, ...], targets: tuple[str, ...]
) -> None:
    """Write all that builds of each SPEC need from outside into one file, for machines without a network.

    These are the wheels of the images and of isolated environments, the base images, and the models that specs name by
    URL, each by its digest and once for all specs. `onnxpack build SPEC --vendor FILE` takes them from there. Each spec
    needs its lock. No code of a model runs. The file's path goes to stdout. Exit status: 0 done, 2 usage, spec or lock,
    5 index, registry, network or disk.
    """
    from onnxpack.cli.progress import progress
    from onnxpack.cli.user_store import open_store
    from onnxpack.core.text import format_bytes, plural
    from onnxpack.vendor.collect import collect
    from onnxpack.vendor.write import require_free, write_bundle

    require_free(output)
    chosen = _load_all(spec_files(specs), settings, targets)
    found = collect(chosen, open_store(), progress())
    size = write_bundle(found, output)
    click.echo("\n".join(_summarize(found.index)), err=True)
    click.echo(f"{plural(len(chosen), 'spec')}, {format_bytes(size)}", err=True)
    click.echo(output)
    ctx.exit(0)


def _load_all(paths: list[Path], settings: tuple[str, ...], targets: tuple[str, ...]) -> "list[Chosen]":
    """Read the specs.

    Raises:
        SpecError: with all problems of all of them.
    """
    from onnxpack.vendor.collect import Chosen

    found: list[Chosen] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            file = load(path, settings)
            found.append(Chosen(file, choose_targets(file, targets)))
        except OnnxpackError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found


def _summarize(index: "VendorIndex") -> list[str]:
    """Return what is in a bundle as lines of a table."""
    from onnxpack.core.text import format_bytes, format_table, plural

    kinds = (("wheel", index.wheels), ("base image", index.bases), ("model", index.sources))
    rows = [
        [plural(len(parts), noun), format_bytes(sum(part.size for part in parts))] for noun, parts in kinds if parts
    ]
    if index.environments:
        rows.append([plural(len(index.environments), "environment"), "of these wheels"])
    return format_table(rows)
