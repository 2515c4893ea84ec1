"""The distributions that shape a model: those that export, convert and compare it, by their versions."""

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from onnxpack.cache.changes import ABSENT
from onnxpack.cache.trace import find_package_owners, find_version
from onnxpack.spec.model import Spec
from onnxpack.spec.traits import frameworks
from onnxpack.worker.environments import CHILD, find_pins, list_extra

SELF = "onnxpack"
_ARRAYS = "numpy"
"""The distribution that all stand on which compute; what does not, as a reader of settings, shapes no model."""


def find_tools(spec: Spec, packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the distributions here that shape a model.

    ``packages`` are the names that the spec's code imports. An isolated environment has its own framework and packages,
    and so they do not count.
    """
    found = list_wanted(spec)
    roots = found | set(CHILD)
    if not find_pins(spec.model):
        owners = find_package_owners() if packages else {}
        imported = {canonicalize_name(owner) for package in packages for owner in owners.get(package, ())}
        found |= imported - {SELF}
        roots |= imported
    closure = _close(roots)
    found |= {name for name, needs in closure.items() if name == _ARRAYS or _ARRAYS in needs}
    versions = {name: find_version(name) for name in sorted({SELF, *found})}
    return {name: version for name, version in versions.items() if version != ABSENT}


def list_wanted(spec: Spec) -> set[str]:
    """Return the distributions that onnxpack itself asks for to export a spec's model, and to score it."""
    found = set(list_extra("evaluation")) if spec.evaluation else set()
    if not find_pins(spec.model):
        framework = spec.model.framework
        found |= list_extra(framework) | set(frameworks()[framework].needs)
    return found


def _close(roots: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """Map the distributions, and all that they require here, to the names of what each requires."""
    found: dict[str, frozenset[str]] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _list_requirements(name)
            waiting += found[name]
    return found


def _list_requirements(name: str) -> frozenset[str]:
    try:
        asked = [Requirement(line) for line in requires(name) or ()]
    except (PackageNotFoundError, ValueError):  # it is not installed, or its metadata is not readable
        return frozenset()
    needed = (one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""}))
    return frozenset(canonicalize_name(one.name) for one in needed)
