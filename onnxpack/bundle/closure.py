"""Checks that a lock's packages are exactly those that the requirements need, and that the wheels say the same.

The lock says of each package what it requires. From that the set is checked without a network. What a lock says can be
edited, so each wheel's own metadata, whose hash was checked with it, must agree once it is unpacked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from onnxpack.bundle.added import find_unused
from onnxpack.bundle.lock import Package, TargetLock, make_unresolved_lock, name_base
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.spec.model import Spec

_HINT = "run `onnxpack lock SPEC`"


@dataclass(frozen=True)
class Difference:
    """What a lock has otherwise than the spec asks for.

    Attributes:
        words: what differs, as a clause about the lock.
        field: the path of the spec's field that asks for it; empty where no field does.
        keys: the keys that lead to it in what the lock says of the target's runtime.
    """

    words: str
    field: tuple[str | int, ...] = ()
    keys: tuple[str, ...] = ()


def find_stale(spec: Spec, targets: Mapping[str, TargetLock]) -> dict[str, str]:
    """Return the spec's targets whose lock is missing or not what they ask for, each with the first reason."""
    found = {}
    for name in spec.targets:
        locked = targets.get(name)
        first = (
            next(iterate_differences(spec, name, locked), None)
            if locked
            else Difference("the lock does not have this target")
        )
        if first:
            found[name] = first.words
    return found


def iterate_differences(spec: Spec, target: str, locked: TargetLock) -> Iterator[Difference]:
    """Yield all that a target's lock has otherwise than the spec asks for; what only follows from that is left out."""
    question = make_unresolved_lock(spec, target)
    if locked.device != question.device:
        yield Difference(f"it is for {locked.device}, and the spec says {question.device}", ("targets", target), ())
        return
    if locked.platform != question.platform:
        words = f"its platform is {locked.platform}, and the spec's is {question.platform}"
        yield Difference(words, ("targets", target, "platform"), ("platform",))
    if locked.python != question.python:
        words = f"its Python is {locked.python}, and the spec's is {question.python}"
        yield Difference(words, ("image", "python"), ("python",))
    if locked.base and locked.base.reference != (wanted := name_base(spec, target)):
        words = f"its base image is {locked.base.reference}, and the spec's is {wanted}"
        yield Difference(words, ("image", "base"), ("base", "reference"))
    if locked.requirements != question.requirements:
        yield from _compare_requirements(spec, question.requirements, locked.requirements)
        return
    for package in locked.packages:
        yield from _check_wheels(package)
    unused = find_unused(spec, target, locked.packages)
    yield from iterate_package_differences(question.requirements, locked.packages, unused)


def _compare_requirements(spec: Spec, asked: Sequence[str], locked: Sequence[str]) -> Iterator[Difference]:
    """Yield the requirements that one side alone has, else that the lock has them in another order."""
    for line in asked:
        if line not in locked:
            own = line in spec.image.requirements
            field = ("image", "requirements", spec.image.requirements.index(line)) if own else ()
            yield Difference(f"it was made without '{line}', which the image needs", field, ("requirements",))
    for line in dict.fromkeys(locked):
        if line not in asked:
            yield Difference(f"it asks for '{line}', and the image does not", (), ("requirements",))
    if set(asked) == set(locked):
        yield Difference("it has its requirements twice, or in another order", (), ("requirements",))


def _check_wheels(package: Package) -> Iterator[Difference]:
    """Yield the wheels of a package whose name says that they are another's, or of another version."""
    for name in package.files:
        if not is_version(package.version, read_version(package.name, name)):
            words = f"it has {package.name} {package.version} with the wheel {name}"
            yield Difference(words, (), ("packages", package.name))


def read_version(package: str, wheel: str) -> Version | None:
    """Return the version that a wheel's file name says; None if it is no wheel's, or another package's."""
    try:
        owner, version, _, _ = parse_wheel_filename(wheel)
    except (InvalidWheelFilename, InvalidVersion):
        return None
    return version if owner == package else None


def is_version(text: str, version: Version | None) -> bool:
    """Return whether a text says a version; None is no version."""
    try:
        return version is not None and Version(text) == version
    except InvalidVersion:
        return False


def iterate_package_differences(
    requirements: Sequence[str], packages: Sequence[Package], unused: frozenset[str]
) -> Iterator[Difference]:
    """Yield what a lock's packages have too much, too little or in a version not asked for.

    ``unused`` are distributions that an image leaves out although a wheel requires them.
    """
    known = {package.name: package for package in packages}
    reached: set[str] = set()
    waiting: list[tuple[str, str]] = []
    for asked in map(Requirement, requirements):
        name = canonicalize_name(asked.name)
        waiting.append((name, "the spec"))
        if name in known and not asked.specifier.contains(known[name].version, prereleases=True):
            words = f"it holds {name} {known[name].version}, and the spec asks for {asked}"
            yield Difference(words, (), ("packages", name))
    while waiting:
        needed, by = waiting.pop()
        if needed in reached or needed in unused:
            continue
        reached.add(needed)
        if needed in known:
            waiting += [(other, needed) for other in known[needed].requires]
        else:
            yield Difference(f"'{needed}' is missing, which {by} needs", (), ("packages",))
    if not reached <= known.keys():
        return  # what is missing may be what requires the others
    for extra in sorted(known.keys() - reached):
        yield Difference(f"it holds '{extra}', which nothing requires", (), ("packages", extra))


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
