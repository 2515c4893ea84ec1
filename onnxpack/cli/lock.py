"""``onnxpack lock``: what shapes specs' images, pinned beside them."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxpack.cli.arguments import SPECS, each, spec_files
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.spec.load import load

if TYPE_CHECKING:
    from onnxpack.bundle.lock import Lock, LockedBase

    Ask = Callable[[str, str], LockedBase | EngineError]


@click.command("lock")
@SPECS
@click.option("--check", is_flag=True, help="Write nothing; fail when a lock is missing, or anything moved.")
@click.option("--upgrade", is_flag=True, help="Pin the base images anew, too: as their registries have them now.")
@click.pass_context
def command(ctx: click.Context, specs: tuple[Path, ...], check: bool, upgrade: bool) -> None:
    """Resolve the Python packages of each SPEC's images and pin them, by hash, in a .lock file beside it.

    The base image is pinned there too, by its digest. A digest that is there stays until --upgrade. Where the registry
    cannot be asked, the base is not pinned, and a note says so.
    """
    if check and upgrade:
        raise click.UsageError("--check writes nothing: leave out --upgrade")
    ask = cache(_ask_base)  # once for all specs: a registry that cannot be reached takes its time
    ctx.exit(each(spec_files(specs), _check_lock if check else partial(_write_lock, upgrade=upgrade, ask=ask)))


def _write_lock(path: Path, *, upgrade: bool, ask: "Ask") -> None:
    from onnxpack.bundle.lock import lock_path, write, write_text
    from onnxpack.pipeline.lock import Moving, make_lock

    file, place = load(path), lock_path(path)
    old = _read_if_valid(place)
    found = make_lock(file, old, partial(_pin_base, ask=ask, upgrade=upgrade), Moving(None if upgrade else ()))
    if old and place.read_text() == write_text(found):
        click.echo(f"{place}: unchanged", err=True)
        return
    write(place, found.targets, found.pins)
    click.echo(f"{place}: written", err=True)


def _read_if_valid(place: Path) -> "Lock | None":
    """Return the lock that is there; None where there is none, or none that this version reads: it is made anew."""
    from onnxpack.bundle.lock import read_lock

    try:
        return read_lock(place)
    except SpecError:
        return None


def _ask_base(wanted: str, platform: str) -> "LockedBase | EngineError":
    """Return a base image's digest, or why its registry does not give it."""
    from onnxpack.bundle.base import find_base

    try:
        return find_base(wanted, platform)
    except EngineError as error:
        return error


def _pin_base(
    wanted: str, platform: str, known: "LockedBase | None", *, ask: "Ask", upgrade: bool
) -> "LockedBase | None":
    """Return what a base is pinned to: as before, or what the registry has, if that can be asked."""
    if known and not upgrade:
        return known
    answer = ask(wanted, platform)
    if not isinstance(answer, EngineError):
        return answer
    words = "its digest stays as it was" if known else "it is not pinned"
    click.echo(f"note: the base image {wanted}: {words}: {answer.problems[0].message}", err=True)
    return known


def _check_lock(path: Path) -> None:
    from onnxpack.bundle.drift import require_fresh
    from onnxpack.bundle.lock import lock_path

    require_fresh(load(path))
    click.echo(f"{lock_path(path)}: fresh", err=True)
