"""Makes the lock of a spec: digests of what it names, packages as the index has them, and bases by their digests."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from onnxpack.bundle import resolve as packages
from onnxpack.bundle.closure import is_version, read_version
from onnxpack.bundle.lock import Lock, LockedBase, Package, TargetLock, make_unresolved_lock, name_base, name_runtime
from onnxpack.bundle.pins import collect_pins
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Model
from onnxpack.spec.origin import is_url
from onnxpack.tasks.external import ListExternalData
from onnxpack.worker.call import call_alone
from onnxpack.worker.environments import resolve_versions

FindBase = Callable[[str, str, LockedBase | None], LockedBase | None]
"""Returns what a base image is pinned to, by its reference, its platform, and what it was pinned to before."""
_ONNX = ".onnx"


@dataclass(frozen=True)
class Moving:
    """The packages whose newest version is taken, whatever the lock has; ``names`` is None for all."""

    names: Collection[str] | None = ()

    def keep(self, known: dict[str, str]) -> dict[str, str]:
        """Return those of the known versions that stay where they still fit."""
        return {} if self.names is None else {name: one for name, one in known.items() if name not in self.names}


def make_lock(file: SpecFile, old: Lock | None, find_base: FindBase, moving: Moving) -> Lock:
    """Return the lock of a spec as it is now; versions of the old lock stay where they fit and are not ``moving``.

    Raises:
        SpecError: a file is not there, or no set of packages fits.
        EngineError: the package index cannot be reached.
    """
    environment = resolve_versions(file.spec, moving.keep(dict(old.pins.environment) if old else {}))
    return _make(file, old, find_base, moving, environment)


def undo_edits(edited: Lock) -> tuple[Lock, frozenset[str]]:
    """Return a lock with the versions that its wheels have, and the names of packages of which it says another.

    A program that changes versions alone, as Renovate does, leaves a lock like that.
    """
    names: set[str] = set()

    def restore(package: Package) -> Package:
        versions = {version for name in package.files if (version := read_version(package.name, name))}
        if len(versions) != 1 or is_version(package.version, *versions):
            return package
        names.add(package.name)
        return replace(package, version=str(*versions))

    entries = {
        name: replace(entry, packages=tuple(map(restore, entry.packages))) for name, entry in edited.targets.items()
    }
    return Lock(entries, edited.pins), frozenset(names)


def make_first_lock(file: SpecFile) -> Lock:
    """Return the lock that a build leaves beside a spec which has none; raise as ``make_lock`` does.

    `onnxpack lock` adds the rest: the base, whose registry an engine may not need, and what is in the model's isolated
    environment, since this build has made one already, of what was newest.
    """
    return _make(file, None, lambda wanted, platform, known: known, Moving(), {})


def _make(file: SpecFile, old: Lock | None, find_base: FindBase, moving: Moving, environment: dict[str, str]) -> Lock:
    pins = collect_pins(file, _list_external(file, file.spec.model), environment)
    made: dict[str, TargetLock] = {}
    for name in file.spec.targets:
        runtime = name_runtime(make_unresolved_lock(file.spec, name))
        if runtime not in made:
            before = _find_runtime(old, runtime)
            entry = packages.resolve(file.spec, name, _list_known(old, before), moving.names)
            made[runtime] = replace(entry, base=_choose_base(file, name, before, find_base))
    targets = {name: made[name_runtime(make_unresolved_lock(file.spec, name))] for name in file.spec.targets}
    return Lock(targets, pins)


def _list_external(file: SpecFile, model: Model) -> tuple[str, ...]:
    """Return where an ONNX model keeps data that is not in its own file."""
    if model.path is None or is_url(model.path) or not model.path.endswith(_ONNX):
        return ()
    return call_alone(ListExternalData(file.resolve(model.path)), root=file.root).locations


def _find_runtime(old: Lock | None, runtime: str) -> TargetLock | None:
    entries = old.targets.values() if old else ()
    return next((entry for entry in entries if name_runtime(entry) == runtime), None)


def _list_known(old: Lock | None, before: TargetLock | None) -> tuple[Package, ...]:
    """Return the packages whose versions are to stay: a runtime's own, or for a new one those of the other targets."""
    if before or old is None:
        return before.packages if before else ()
    return tuple({one.name: one for entry in old.targets.values() for one in entry.packages}.values())


def _choose_base(file: SpecFile, target: str, before: TargetLock | None, find_base: FindBase) -> LockedBase | None:
    wanted = name_base(file.spec, target)
    if "@" in wanted:  # the spec pins it
        return None
    known = before.base if before and before.base and before.base.reference == wanted else None
    return find_base(wanted, file.spec.targets[target].platform, known)
