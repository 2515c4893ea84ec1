"""``onnxpack lock``: the pinned Python packages of specs' images."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxpack.cli.arguments import SPECS, each, spec_files
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.spec.load import load

if TYPE_CHECKING:
    from onnxpack.bundle.lock import TargetLock


@click.command("lock")
@SPECS
@click.option("--check", is_flag=True, help="Write nothing; fail when a lock is missing or stale.")
@click.pass_context
def command(ctx: click.Context, specs: tuple[Path, ...], check: bool) -> None:
    """Resolve the Python packages of each SPEC's images and pin them, by hash, in a .lock file beside it."""
    ctx.exit(each(spec_files(specs), _check_lock if check else _write_lock))


def _write_lock(path: Path) -> None:
    from onnxpack.bundle.lock import lock_path, resolve, write

    spec = load(path).spec
    place = lock_path(path)
    found = {name: resolve(spec, name) for name in spec.targets}
    if _read_if_valid(place) == found:
        click.echo(f"{place}: unchanged", err=True)
        return
    write(place, found)
    click.echo(f"{place}: written", err=True)


def _read_if_valid(place: Path) -> "dict[str, TargetLock] | None":
    """Return the lock that is there; None where there is none, or none that this version reads: it is made anew."""
    from onnxpack.bundle.lock import read

    try:
        return read(place)
    except SpecError:
        return None


def _check_lock(path: Path) -> None:
    from onnxpack.bundle.closure import find_stale
    from onnxpack.bundle.lock import lock_path, read

    spec = load(path).spec
    place = lock_path(path)
    if not place.exists():
        raise SpecError(Problem("there is no lock", f"run `onnxpack lock {path}`", Location(str(place))))
    reasons = find_stale(spec, read(place))
    if reasons:
        message = "the lock does not fit target '{}': {}"
        problems = [
            Problem(message.format(name, reason), f"run `onnxpack lock {path}`", Location(str(place)))
            for name, reason in reasons.items()
        ]
        raise SpecError(problems)
    click.echo(f"{place}: fresh", err=True)
