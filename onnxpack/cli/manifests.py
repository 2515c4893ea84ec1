"""``onnxpack manifests``: the files that bring a build into a cluster, and their images' digests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpack.cli.arguments import spec_files
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.deploy import list_formats
from onnxpack.spec.load import choose_targets

if TYPE_CHECKING:
    from onnxpack.deploy.builds import Build
    from onnxpack.deploy.formats import Manifests
    from onnxpack.oci.reference import ImageReference


def _read_duration(ctx: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    from onnxpack.spec.units import read_duration

    seconds = None if text is None else read_duration(text)
    if text is not None and not seconds:
        raise click.BadParameter(f"'{text}' is no duration: write 20ms or 0.5s", ctx, parameter)
    return seconds


@click.command("manifests")
@click.argument("what", nargs=-1, required=True, metavar="SPEC|BUNDLE…", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(list_formats()), help="Write this form; repeatable."
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Write to DIR/NAME/, or DIR/FORMAT/NAME/ of several forms; a form of one file else goes to stdout.",
)  # fmt: skip
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Take this target of a spec; repeatable.")
@click.option(
    "--builds", type=click.Path(path_type=Path, file_okay=False), default=Path("dist"), show_default=True,
    help="Where `onnxpack build` has put a spec's outputs.",
)  # fmt: skip
@click.option("--image", metavar="REPOSITORY@DIGEST", help="The image of a build that did not push it itself.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Requests per second of all Pods together.")
@click.option(
    "--p99", callback=_read_duration, metavar="DURATION",
    help="The time that 99 of 100 answers keep to, as 20ms: a Pod is planned for no more than keeps it.",
)  # fmt: skip
@click.option(
    "--update", "updated", multiple=True, metavar="PATH", type=click.Path(path_type=Path, exists=True),
    help="Write nothing new: bring the images' digests into this file or folder; repeatable.",
)  # fmt: skip
@click.option("--check", is_flag=True, help="With --update: change nothing, and fail if there is anything to change.")
@click.option("--force", is_flag=True, help="Overwrite files that were changed by hand.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Write the files that bring a build into a cluster, with figures that it measured.

    A SPEC must be built; a BUNDLE is its output, dist/NAME/TARGET. The paths of files that changed go to stdout. Exit
    status: 0 done, also if nothing changed; 2 usage, no such build, a goal that cannot be kept, files that people
    changed, or --check that found something; 5 disk.
    """
    said = _Options(**options)
    _check_usage(said)
    builds = _find_builds(said)
    image = _read_image(said.image, builds)
    if said.updated:
        _update(said, builds, image)
    else:
        _make(said, builds, image)
    ctx.exit(0)


@dataclass(frozen=True)
class _Options:
    """The options of the verb, as click hands them over."""

    what: tuple[Path, ...]
    formats: tuple[str, ...]
    output: Path | None
    targets: tuple[str, ...]
    builds: Path
    image: str | None
    rate: float | None
    p99: float | None
    updated: tuple[Path, ...]
    check: bool
    force: bool


def _check_usage(said: _Options) -> None:
    others = (said.formats, said.output, said.rate, said.p99, said.force)
    if said.updated and any(others):
        words = "--update changes digests alone: leave out --format, --output, --rate, --p99 and --force"
        raise click.UsageError(words)
    if said.check and not said.updated:
        raise click.UsageError("--check is for --update")
    if not said.updated and not said.formats:
        raise click.UsageError(f"choose a form by --format: {', '.join(list_formats())}; or change files by --update")


def _find_builds(said: _Options) -> "list[Build]":
    """Return the builds that are named.

    Raises:
        SpecError: one is not there, or failed; all of them are told.
    """
    from onnxpack.deploy.builds import read_build

    found, problems = [], list[Problem]()
    for folder in _list_folders(said):
        try:
            found.append(read_build(folder))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found


def _list_folders(said: _Options) -> list[Path]:
    """Return the output folders of builds: those named, and those of the targets of specs."""
    from onnxpack.pipeline.plan import output_folder
    from onnxpack.pipeline.report import REPORT
    from onnxpack.spec.load import load

    folders = []
    for path in said.what:
        if path.is_dir() and (path / REPORT).exists():
            folders.append(path)
            continue
        for one in spec_files([path]):
            file = load(one)
            folders += [output_folder(said.builds, file, target) for target in choose_targets(file, said.targets)]
    return list(dict.fromkeys(folders))


def _read_image(text: str | None, builds: "Sequence[Build]") -> "ImageReference | None":
    from onnxpack.oci.reference import parse_reference

    if text is None:
        return None
    if len(builds) > 1:
        raise click.UsageError(f"--image is for one build, and {len(builds)} are named: choose one by --target")
    reference = parse_reference(text)
    if not reference.digest:
        raise SpecError(f"'{text}' has no digest", "name repository@sha256:…, as `onnxpack push` prints it")
    return reference


def _make(said: _Options, builds: "Sequence[Build]", image: "ImageReference | None") -> None:
    """Write new files, or print the one that there is."""
    from onnxpack.deploy.files import write_manifests

    made: list[Manifests] = []
    for name in dict.fromkeys(said.formats):
        made += [_make_format(name, build, said, image) for build in builds]
    if said.output is None:
        _print_only(made)
        return
    changed = write_manifests(said.output, made, force=said.force)
    for path in changed:
        click.echo(path)
    if not changed:
        click.echo(f"{said.output}: unchanged", err=True)


def _make_format(name: str, build: "Build", said: _Options, image: "ImageReference | None") -> "Manifests":
    from dataclasses import replace

    from onnxpack.deploy.formats import Wanted, load_format
    from onnxpack.deploy.sizing import Goals, make_sizing

    sizing = make_sizing(build, Goals(said.rate, said.p99))
    made = load_format(name).make(Wanted(build, sizing, image))
    return replace(made, folder=f"{name}/{made.folder}") if len(set(said.formats)) > 1 else made


def _print_only(made: "Sequence[Manifests]") -> None:
    from onnxpack.deploy.files import sign

    (one, *more) = made
    if more or one.copies or len(one.texts) > 1:
        raise click.UsageError("these are several files: say where to by --output DIR")
    click.echo(sign(*one.texts.values()), nl=False)


def _update(said: _Options, builds: "Sequence[Build]", image: "ImageReference | None") -> None:
    """Bring digests into files that are there, or tell which are not there."""
    from onnxpack.deploy.update import Released, find_updates, write_updates
    from onnxpack.deploy.views import require_image

    update = find_updates(said.updated, [Released(build, require_image(build, image)) for build in builds])
    for note in update.notes:
        click.echo(f"note: {note}", err=True)
    if said.check and update.files:
        places = [(Location(str(file.path), edit.line, 1), edit) for file in update.files for edit in file.edits]
        hint = "run it without --check"
        raise SpecError([Problem(f"here is {edit.old}, built was {edit.shown}", hint, where) for where, edit in places])
    write_updates(update)
    for file in update.files:
        for edit in file.edits:
            click.echo(f"{file.path}:{edit.line}: {edit.old} → {edit.shown}", err=True)
        click.echo(file.path)
    if not update.files:
        click.echo("unchanged: all digests are those of the builds", err=True)
