"""Checks that a lock's packages are exactly those that the requirements need, and that the wheels say the same.

The lock says of each package what it requires. From that the set is checked without a network. What a lock says can be
edited, so each wheel's own metadata, whose hash was checked with it, must agree once it is unpacked.
"""

from collections.abc import Sequence
from dataclasses import replace
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from onnxpack.bundle.added import find_unused
from onnxpack.bundle.lock import Package, TargetLock, make_unresolved_lock, name_base
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.spec.model import Spec

_HINT = "run `onnxpack lock SPEC`"


def find_stale(spec: Spec, targets: dict[str, TargetLock]) -> dict[str, str]:
    """Return the spec's targets whose lock is missing or not what they ask for, each with the reason."""
    reasons = {name: _explain_staleness(spec, name, targets.get(name)) for name in spec.targets}
    return {name: reason for name, reason in reasons.items() if reason}


def _explain_staleness(spec: Spec, target: str, locked: TargetLock | None) -> str:
    question = make_unresolved_lock(spec, target)
    if locked is None:
        return "the lock does not have this target"
    if replace(locked, packages=(), base=None) != question:
        return "its Python, platform or requirements differ from the spec's"
    if locked.base and locked.base.reference != (wanted := name_base(spec, target)):
        return f"its base image is {locked.base.reference}, and the spec's is {wanted}"
    return explain_difference(question.requirements, locked.packages, find_unused(spec, target, locked.packages))


def explain_difference(requirements: Sequence[str], packages: Sequence[Package], unused: frozenset[str]) -> str:
    """Return what a lock's packages have too much, too little or in a version not asked for; empty if nothing.

    ``unused`` are distributions that an image leaves out although a wheel requires them.
    """
    known = {package.name: package for package in packages}
    reached: set[str] = set()
    waiting: list[tuple[str, str]] = []
    for asked in map(Requirement, requirements):
        name = canonicalize_name(asked.name)
        waiting.append((name, "the spec"))
        if name in known and not asked.specifier.contains(known[name].version, prereleases=True):
            return f"it holds {name} {known[name].version}, and the spec asks for {asked}"
    while waiting:
        needed, by = waiting.pop()
        if needed in reached or needed in unused:
            continue
        if needed not in known:
            return f"'{needed}' is missing, which {by} needs"
        reached.add(needed)
        waiting += [(other, needed) for other in known[needed].requires]
    extra = sorted(known.keys() - reached)
    return f"it holds '{extra[0]}', which nothing requires" if extra else ""


def require_metadata(folder: Path, packages: Sequence[Package], python: str, machine: str) -> None:
    """Make sure that ``folder`` holds these distributions and no other, and that each requires what the lock says.

    Raises:
        EngineError: one of them is not there, or another one is.
        SpecError: the lock says something else than a wheel about what it requires.
    """
    found: dict[str, Message] = {}
    for info in folder.glob("*.dist-info"):
        metadata = HeaderParser().parsestr((info / "METADATA").read_text("utf-8", "replace"))
        found[canonicalize_name(metadata["Name"])] = metadata
    wanted = {package.name: package for package in packages}
    if found.keys() != wanted.keys():
        names = ", ".join(sorted(found.keys() ^ wanted.keys()))
        raise EngineError(f"uv did not install what the lock names; this differs: {names}", "run the build again")
    for name, metadata in found.items():
        lines = metadata.get_all("Requires-Dist", [])
        extras = metadata.get_all("Provides-Extra", [])
        least = _list_needed(lines, "", python, machine)
        # A lock does not name extras, so what it says lies between none of a wheel's extras and all of them.
        most = least | {
            other: spec for extra in extras for other, spec in _list_needed(lines, extra, python, machine).items()
        }
        says = set(wanted[name].requires)
        if wrong := sorted((says - most.keys()) | (least.keys() - says)):
            verb = "requires" if wrong[0] in says else "does not require"
            raise SpecError(f"the lock says that {name} {verb} '{wrong[0]}', but its wheel says otherwise", _HINT)
        for other, allowed in least.items():
            if other in wanted and not allowed.contains(wanted[other].version, prereleases=True):
                text = f"the lock holds {other} {wanted[other].version}, and {name} requires {other}{allowed}"
                raise SpecError(text, _HINT)


def _list_needed(lines: Sequence[str], extra: str, python: str, machine: str) -> dict[str, SpecifierSet]:
    """Return what the lines of a wheel's metadata require in an image, for one of its extras or for none."""
    # Markers may ask for a patch release, which an image's Python does not name: its first one is as good as any.
    image = {
        "python_version": python, "python_full_version": f"{python}.0",
        "implementation_version": f"{python}.0", "implementation_name": "cpython", "platform_machine": machine,
        "platform_python_implementation": "CPython", "platform_system": "Linux", "sys_platform": "linux",
        "os_name": "posix", "platform_release": "", "platform_version": "", "extra": extra,
    }  # fmt: skip
    needed: dict[str, SpecifierSet] = {}
    for line in lines:
        try:
            asked = Requirement(line)
        except InvalidRequirement:
            raise SpecError(f"a wheel's metadata has a line that is not a requirement: {line[:200]!r}", _HINT) from None
        if asked.marker is None or asked.marker.evaluate(image):
            needed[canonicalize_name(asked.name)] = asked.specifier
    return needed
