"""``onnxpack lock``: the pinned Python packages and bases of specs' images."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxpack.cli.arguments import SPECS, each, spec_files
from onnxpack.core.errors import EngineError, Location, Problem, SpecError
from onnxpack.spec.load import load

if TYPE_CHECKING:
    from onnxpack.bundle.lock import LockedBase, TargetLock

    Ask = Callable[[str, str], LockedBase | EngineError]


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
    ask = cache(_ask_base)  # once for all specs: a registry that cannot be reached takes its time
    ctx.exit(each(spec_files(specs), _check_lock if check else partial(_write_lock, upgrade=upgrade, ask=ask)))


def _write_lock(path: Path, *, upgrade: bool, ask: "Ask") -> None:
    from onnxpack.bundle.lock import lock_path, name_base, resolve, write

    spec = load(path).spec
    place = lock_path(path)
    old = _read_if_valid(place)
    found = {
        name: _pin_base(name_base(spec, name), resolve(spec, name), (old or {}).get(name), ask, upgrade=upgrade)
        for name in spec.targets
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


def _ask_base(wanted: str, platform: str) -> "LockedBase | EngineError":
    """Return a base image's digest, or why its registry does not give it."""
    from onnxpack.bundle.base import find_base

    try:
        return find_base(wanted, platform)
    except EngineError as error:
        return error


def _pin_base(wanted: str, entry: "TargetLock", old: "TargetLock | None", ask: "Ask", *, upgrade: bool) -> "TargetLock":
    """Return a target's lock with its base's digest: the old one, or what the registry has, if that can be asked."""
    if "@" in wanted:  # the spec pins it
        return entry
    known = old.base if old and old.base and old.base.reference == wanted else None
    if known and not upgrade:
        return replace(entry, base=known)
    answer = ask(wanted, entry.platform)
    if not isinstance(answer, EngineError):
        return replace(entry, base=answer)
    words = "its digest stays as it was" if known else "it is not pinned"
    click.echo(f"note: the base image {wanted}: {words}: {answer.problems[0].message}", err=True)
    return replace(entry, base=known)


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
