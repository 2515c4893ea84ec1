"""``onnxpack bench``: how fast and how large a model is, against its source and float32."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpack.cli.arguments import SANDBOX, SETTINGS, TRUST, each, spec_files
from onnxpack.cli.each_target import Choice
from onnxpack.cli.progress import progress
from onnxpack.core.errors import Location, Problem, SpecError

if TYPE_CHECKING:
    from onnxpack.pipeline.bench import Wish
    from onnxpack.timing.bench import Bench

_SIZE = re.compile(r"(.+)=([1-9][0-9]{0,8})")


@click.command("bench")
@click.argument("path", metavar="SPEC|MODEL", type=click.Path(path_type=Path))
@SETTINGS
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Only this built target; repeatable.")
@click.option("--output", default="dist", show_default=True, type=click.Path(path_type=Path), help="Where builds are.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1), help="Rows in a run; repeatable.")
@click.option("--size", "sizes", multiple=True, metavar="AXIS=N", help="The size of an axis; repeatable.")
@click.option("--threads", type=click.IntRange(1, 1024), help="For one run; else the spec's, or one for each CPU.")
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(0, 3600), help="Of timing in all.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw the figures into this file.")
@TRUST
@SANDBOX
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    path: Path,
    **options: Any,
) -> None:
    """Time SPEC's source model, its float32 export and what was built of it; or MODEL, an ONNX file, alone.

    All run in turn, one call each, so that a busy machine slows all of them. Tables go to stdout, everything else to
    stderr. Exit status: 0 done, 2 usage or spec, 3 a model that does not run, 4 the export differs from its source.
    """
    from onnxpack.pipeline.bench import Wish
    from onnxpack.timing.bench import format_bench
    from onnxpack.timing.picture import write_picture

    said = _Options(**options)
    wish = Wish(said.batches, read_axis_sizes(said.sizes), said.seconds, said.threads)

    def time_one(path: Path) -> None:
        if said.svg and not said.svg.absolute().parent.is_dir():
            raise SpecError(f"--svg: there is no folder '{said.svg.parent}'", f"run `mkdir -p '{said.svg.parent}'`")
        if _is_spec(path):
            found = _bench_spec(path, said, said.output, wish)
        else:
            found = _bench_model(path, wish, sandbox=said.sandbox)
        if said.svg:
            write_picture(found, said.svg)
        click.echo(json.dumps(found.document(), indent=2) if said.as_json else format_bench(found))

    ctx.exit(each([path], time_one))


@dataclass(frozen=True)
class _Options(Choice):
    """The options of the verb, as click hands them over."""

    output: Path
    batches: tuple[int, ...]
    sizes: tuple[str, ...]
    threads: int | None
    seconds: float
    svg: Path | None
    as_json: bool


def _is_spec(path: Path) -> bool:
    """Return whether the path is a spec, or a folder of one; else it is an ONNX file.

    Raises:
        SpecError: there is nothing that could be timed.
    """
    if path.is_dir() or path.suffix.lower() in (".yaml", ".yml"):
        return True
    if not path.is_file():
        raise SpecError(Problem("there is no such file", "check the path", Location(str(path))))
    if path.suffix.lower() != ".onnx":
        hint = "give a spec, its folder, or a file that ends in .onnx"
        raise SpecError(Problem("`bench` times specs and ONNX files only", hint, Location(str(path))))
    return False


def _bench_spec(path: Path, choice: Choice, output: Path, wish: "Wish") -> "Bench":
    from onnxpack.cli.user_store import open_store
    from onnxpack.image import load_engine
    from onnxpack.pipeline.bench import bench_spec
    from onnxpack.pipeline.plan import Plan
    from onnxpack.pipeline.run import Build

    found = spec_files([path])
    if len(found) > 1:
        names = ", ".join(str(each_one) for each_one in found[:5])
        raise SpecError(
            Problem(f"{len(found)} specs are below this folder", f"give one of them: {names}", Location(str(path)))
        )
    file = choice.load(found[0])
    plan = Plan(file, next(iter(file.spec.targets)), Path(), choice.sandbox)
    return bench_spec(Build(plan, open_store(), load_engine(), progress(file.spec.name)), choice.targets, output, wish)


def _bench_model(path: Path, wish: "Wish", *, sandbox: bool) -> "Bench":
    from onnxpack.core.scratch import make_temporary_folder
    from onnxpack.pipeline.bench import bench_model

    with make_temporary_folder() as scratch, progress(path.name).stage("bench"):
        return bench_model(path, wish, scratch, sandbox=sandbox)


def read_axis_sizes(words: tuple[str, ...]) -> dict[str, int]:
    """Read `AXIS=N` options as sizes by the axis's name.

    Raises:
        click.BadParameter: one says something else.
    """
    found = {}
    for word in words:
        match = _SIZE.fullmatch(word)
        if match is None:
            raise click.BadParameter(f"'{word}' is not AXIS=N, with N from 1", param_hint="--size")
        found[match[1]] = int(match[2])
    return found
