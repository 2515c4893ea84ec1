"""Writes locks, once the models' answers were found to stay where they are."""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxpack.core.errors import EngineError, GateError, Problem, SpecError
from onnxpack.core.text import plural
from onnxpack.spec.load import SpecFile, load
from onnxpack.spec.trust import trust_code

if TYPE_CHECKING:
    from onnxpack.bundle.lock import Lock, LockedBase
    from onnxpack.pipeline.replay import Replay


_SHOWN = 20
"""How many lines of changes a person reads; the lock's own difference has them all."""


@dataclass(frozen=True)
class How:
    """The options of the command line that hold for every lock.

    ``names`` are the packages that move by ``upgrade``, all if there are none.
    """

    upgrade: bool
    names: frozenset[str]
    trust: bool
    sandbox: bool

    @property
    def moves_all(self) -> bool:
        """Return whether everything is pinned anew."""
        return self.upgrade and not self.names


def write_lock(path: Path, *, how: How) -> None:
    """Write a spec's lock, if it is to be another one.

    Raises:
        GateError: answers of a model would move by more than the tolerance; the lock stays as it is.
        OnnxpackError: something that is needed for it is not there.
    """
    from onnxpack.bundle.lock import lock_path, write, write_text
    from onnxpack.pipeline.lock import Moving, make_lock, undo_edits

    file, place = load(path), lock_path(path)
    known = read_if_valid(place)
    before, edited = undo_edits(known) if known else (None, frozenset())
    moving = Moving(None if how.moves_all else how.names)
    found = make_lock(file, known, partial(_pin_base, anew=how.moves_all), moving)
    if known and place.read_text() == write_text(found):
        click.echo(f"{place}: unchanged", err=True)
        return
    if before and (how.upgrade or edited):
        _replay(file, before, found, how)
    write(place, found.targets, found.pins)
    click.echo(f"{place}: written", err=True)
    for words in _list_changes(before, found):
        click.echo(f"  {words}", err=True)


def read_if_valid(place: Path) -> "Lock | None":
    """Return the lock that is there; None where there is none, or none that this version reads: it is made anew."""
    from onnxpack.bundle.lock import read_lock

    try:
        return read_lock(place)
    except SpecError:
        return None


def _pin_base(wanted: str, platform: str, known: "LockedBase | None", *, anew: bool) -> "LockedBase | None":
    """Return what a base is pinned to: as before, or what the registry has, if that can be asked."""
    if known and not anew:
        return known
    answer = _ask_base(wanted, platform)
    if not isinstance(answer, EngineError):
        return answer
    words = "its digest stays as it was" if known else "it is not pinned"
    click.echo(f"note: the base image {wanted}: {words}: {answer.problems[0].message}", err=True)
    return known


@cache  # once for all specs: a registry that cannot be reached takes its time
def _ask_base(wanted: str, platform: str) -> "LockedBase | EngineError":
    """Return a base image's digest, or why its registry does not give it."""
    from onnxpack.bundle.base import find_base

    try:
        return find_base(wanted, platform)
    except EngineError as error:
        return error


def _replay(file: SpecFile, before: "Lock", after: "Lock", how: How) -> None:
    """Run the model of each target on the old and on the new packages.

    Raises:
        GateError: answers moved by more than the tolerance, of one target or more.
    """
    from onnxpack.cli.progress import progress
    from onnxpack.cli.user_store import open_store
    from onnxpack.image import load_engine
    from onnxpack.pipeline.plan import Plan
    from onnxpack.pipeline.replay import replay
    from onnxpack.pipeline.run import Build

    trusted, store = trust_code(file, trusted=how.trust), open_store()
    problems: list[Problem] = []
    for target in file.spec.targets:
        plan = Plan(trusted, target, Path(), how.sandbox)
        try:
            found = replay(Build(plan, store, load_engine(), progress(target)), before, after)
        except GateError as error:
            problems += error.problems
            continue
        if found:
            _show(target, found)
    if problems:
        raise GateError(problems)


def _show(target: str, found: "Replay") -> None:
    for note in found.notes:
        click.echo(f"note: target '{target}': {note}", err=True)
    rows = found.rows or found.source_rows
    most = max((row.max_abs_diff for row in rows), default=0.0)
    of = "the old ones" if found.rows else "the source model's"
    words = f"{plural(len(rows), 'answer')} compared, at most {most:.2g} from {of} ({found.tolerance})"
    click.echo(f"target '{target}', {', '.join(found.moved)}: {words}", err=True)


def _list_changes(before: "Lock | None", after: "Lock") -> list[str]:
    """Return what moved in each runtime, in words; nothing where there was no lock."""
    from onnxpack.bundle.lock import name_runtime
    from onnxpack.pipeline.replay import list_moved

    if before is None:
        return []
    versions: list[dict[str, dict[str, str]]] = []
    for lock in (before, after):
        runtimes = {name_runtime(one): one for one in lock.targets.values()}
        packages = {name: {one.name: one.version for one in entry.packages} for name, entry in runtimes.items()}
        versions.append(packages | {"tools": dict(lock.pins.tools), "environment": dict(lock.pins.environment)})
    old, new = versions
    # Of what was not there at all, such as a first environment, nothing moved.
    found = [f"{name}: {words}" for name in new if old.get(name) for words in list_moved(old[name], new[name])]
    more = len(found) - _SHOWN
    return found if more <= 0 else [*found[:_SHOWN], f"… and {more} more"]
