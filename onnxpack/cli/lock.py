"""``onnxpack lock``: the pinned Python packages and bases of specs' images."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxpack.cli.arguments import SPECS, each, spec_files
from onnxpack.core.errors import EngineError, Location, Problem, SpecError
from onnxpack.spec.load import load

if TYPE_CHECKING:
    from onnxpack.bundle.lock import LockedBase, TargetLock


@click.command("lock")
@SPECS
@click.option("--check", is_flag=True, help="Write nothing; fail when a lock is missing or stale.")
@click.option("--upgrade", is_flag=True, help="Pin the base images anew, too: as their registries have them now.")
@click.pass_context
def command(ctx: click.Context, specs: tuple[Path, ...], check: bool, upgrade: bool) -> None:
    """Resolve the Python packages of each SPEC's images and pin them, by hash, in a .lock file beside it.

    The base image is pinned there too, by its digest. A digest that is there stays until --upgrade. Where the registry
    cannot be asked, the base is not pinned, and a note says so.
    """
    if check and upgrade:
        raise click.UsageError("--check writes nothing: leave out --upgrade")
    ctx.exit(each(spec_files(specs), _check_lock if check else partial(_write_lock, upgrade=upgrade)))


def _write_lock(path: Path, *, upgrade: bool) -> None:
    from onnxpack.bundle.lock import lock_path, name_base, resolve, write

    spec = load(path).spec
    place = lock_path(path)
    old = _read_if_valid(place)
    found = {name: resolve(spec, name) for name in spec.targets}
    found = {
        name: replace(
            entry, base=_pin_base(name_base(spec, name), entry.platform, _find_pin(old, name), upgrade=upgrade)
        )
        for name, entry in found.items()
    }
    if old == found:
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


def _find_pin(old: "dict[str, TargetLock] | None", target: str) -> "LockedBase | None":
    return old[target].base if old and target in old else None


def _pin_base(wanted: str, platform: str, known: "LockedBase | None", *, upgrade: bool) -> "LockedBase | None":
    """Return the base image's digest: the known one, or what its registry has; None where that cannot be asked."""
    from onnxpack.bundle.base import find_base

    if "@" in wanted:  # the spec pins it
        return None
    kept = known if known and known.reference == wanted else None
    if kept and not upgrade:
        return kept
    try:
        return find_base(wanted, platform)
    except EngineError as error:
        words = "its digest stays as it was" if kept else "it is not pinned"
        click.echo(f"note: the base image {wanted}: {words}: {error.problems[0].message}", err=True)
        return kept


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
