"""All that moved since a lock was made: each thing once, with its place in the spec or in the lock.

It asks no network and runs no code of the spec: files are digested, and versions are read.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from onnxpack.bundle.closure import Difference, iterate_differences
from onnxpack.bundle.lock import Lock, lock_path, name_runtime, read_lock, write_text
from onnxpack.bundle.pins import digest_if_there, digest_sources, list_tolerances
from onnxpack.bundle.places import Places
from onnxpack.bundle.sources import find_sources, locate_external
from onnxpack.bundle.tools import SELF, list_wanted
from onnxpack.cache.changes import ABSENT
from onnxpack.cache.trace import find_version
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.spec.load import SpecFile
from onnxpack.worker.environments import list_versions

_SHOWN = 12
"""Digits of a digest that a message has: enough to tell two apart."""


def require_fresh(file: SpecFile) -> Lock:
    """Return a spec's lock, if nothing moved since it was made.

    Raises:
        SpecError: there is none, or it does not fit any more: with all that moved.
    """
    spec = Path(file.where().file)
    path, shown = lock_path(file.path), lock_path(spec)
    cure = f"run `onnxpack lock {spec}`"
    if not path.exists():
        raise SpecError(Problem("there is no lock", cure, Location(str(shown))))
    try:
        lock = read_lock(path)
    except SpecError as error:
        raise SpecError([replace(one, hint=cure, where=_show(one.where, shown)) for one in error.problems]) from None
    found = list(find_drift(file, lock, Places(path.read_text(), shown)))
    if found:
        raise SpecError([*found[:-1], replace(found[-1], hint=cure)])  # the cure of all, said once
    return lock


def find_drift(file: SpecFile, lock: Lock, places: Places) -> Iterator[Problem]:
    """Yield all that a lock has otherwise than the spec, its files and the packages here."""
    yield from places.compare_writing(write_text(lock))
    yield from _check_sources(file, lock.pins.sources, places)
    yield from _check_tools(file, lock.pins.tools, places)
    yield from _check_environment(file, lock.pins.environment, places)
    yield from _check_tolerances(file, lock.pins.tolerances, places)
    yield from _check_targets(file, lock, places)


def _check_sources(file: SpecFile, locked: Mapping[str, str], places: Places) -> Iterator[Problem]:
    found = find_sources(file)
    for name, digest in digest_sources(file, found).items():
        where = file.where(*found.files[name].field)
        if name not in locked:
            yield Problem(f"'{name}' is not in the lock", where=where)
        elif digest != locked[name]:
            yield Problem(_explain_digest(name, digest, locked[name]), where=where)
    for name in locked:
        if name in found.files:
            continue
        where = places.find("sources", name)
        source = locate_external(file, name)
        if source is None:
            yield Problem(f"the lock has '{name}', which the spec does not name", where=where)
            continue
        digest = digest_if_there(file, source)
        if digest != locked[name]:
            yield Problem(_explain_digest(name, digest, locked[name]), where=where)


def _explain_digest(name: str, digest: str, locked: str) -> str:
    if not digest:
        return f"'{name}' is not there, or cannot be read"
    return f"'{name}' changed: its SHA-256 is {digest[:_SHOWN]}…, and the lock has {locked[:_SHOWN]}…"


def _check_tools(file: SpecFile, locked: Mapping[str, str], places: Places) -> Iterator[Problem]:
    for name, version in locked.items():
        here = find_version(name)
        if here != version:
            words = f"is not installed here, and the lock has {version}"
            if here != ABSENT:
                words = f"is {here} here, and the lock has {version}"
            yield Problem(f"{name} {words}", where=places.find("tools", name))
    for name in sorted({SELF, *list_wanted(file.spec)} - locked.keys()):
        if find_version(name) != ABSENT:
            yield Problem(f"the lock has no version of {name}, which shapes the model", where=places.find("tools"))


def _check_environment(file: SpecFile, locked: Mapping[str, str], places: Places) -> Iterator[Problem]:
    field = file.where("model", "requirements")
    wanted = list_versions(file.spec)
    if locked and not wanted:
        text = "the lock has an environment for the model, and the spec asks for none"
        yield Problem(text, where=places.find("environment"))
        return
    if wanted and not locked:
        yield Problem("the lock has no versions of the model's environment", where=field)
        return
    for name, version in wanted.items():
        if name not in locked:
            yield Problem(f"the lock has no version of {name} in the model's environment", where=field)
        elif version and locked[name] != version:
            words = f"the model's environment has {name} {version}, and the lock {locked[name]}"
            yield Problem(words, where=field)


def _check_tolerances(file: SpecFile, locked: Mapping[str, Mapping[str, str]], places: Places) -> Iterator[Problem]:
    wanted, verify = list_tolerances(file.spec), file.spec.verify
    given = next((name for name in ("rtol", "atol") if getattr(verify, name) is not None), "")
    for precision in dict.fromkeys((*wanted, *locked)):
        now, before = wanted.get(precision, {}), locked.get(precision, {})
        if now != before:
            where = file.where("verify", given) if given else places.find("tolerances", precision)
            words = f"the tolerance of {precision} is {_show_limits(now)}, and the lock has {_show_limits(before)}"
            yield Problem(words, where=where)


def _show_limits(limits: Mapping[str, str]) -> str:
    if len(limits) == 1:
        return next(iter(limits.values()))
    return "; ".join(f"{name} {text}" for name, text in limits.items()) or "none"


def _check_targets(file: SpecFile, lock: Lock, places: Places) -> Iterator[Problem]:
    differing: dict[tuple[str, Difference], list[str]] = defaultdict(list)
    for name in file.spec.targets:
        locked = lock.targets.get(name)
        if locked is None:
            yield Problem(f"target '{name}' is not in the lock", where=file.where("targets", name))
            continue
        for one in iterate_differences(file.spec, name, locked):
            # What a field asks for is one thing, however many runtimes differ from it.
            differing["" if one.field else name_runtime(locked), one].append(f"'{name}'")
    for (runtime, one), names in differing.items():
        where = file.where(*one.field) if one.field else places.find("runtimes", runtime, *one.keys)
        told = f"target {names[0]}" if len(names) == 1 else f"targets {', '.join(names)}"
        yield Problem(f"the lock does not fit {told}: {one.words}", where=where)
    for name in lock.targets.keys() - file.spec.targets.keys():
        text = f"the lock has target '{name}', and the spec does not"
        yield Problem(text, where=places.find("targets", name))


def _show(where: Location | None, shown: Path) -> Location:
    """Return a place in the lock by the path that the user gave."""
    return replace(where, file=str(shown)) if where else Location(str(shown))
