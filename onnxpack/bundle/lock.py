"""The lock beside a spec: all that shapes its images and that neither the spec nor its files say themselves.

It holds no URLs and no paths of a machine, so any mirror of packages serves, on any machine.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from onnxpack.bundle.lock_file import FORMAT, Document, LockedBase, Runtime, Wheels, read_format, render
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.regular import open_regular
from onnxpack.core.scratch import write_whole
from onnxpack.oci.reference import parse_reference
from onnxpack.spec.intakes import list_intakes
from onnxpack.spec.model import Spec
from onnxpack.targets import load_device

__all__ = [
    "FORMAT",
    "INTAKE_REQUIREMENTS",
    "SERVER_REQUIREMENTS",
    "Lock",
    "LockedBase",
    "Package",
    "Pins",
    "TargetLock",
    "lock_path",
    "make_unresolved_lock",
    "name_base",
    "name_runtime",
    "read",
    "read_lock",
    "write",
]

_LIMIT = 16 * 2**20  # bytes; a target with CUDA has 5 kB
_HTTP = ("httptools>=0.6", "orjson>=3.10")
SERVER_REQUIREMENTS = {"none": (), "http": _HTTP, "http+grpc": (*_HTTP, "grpcio>=1.78")}
INTAKE_REQUIREMENTS = {"picture": "pillow>=11", "text": "tokenizers>=0.21"}
"""What the module of an image needs to take pictures and texts."""


@dataclass(frozen=True)
class Package:
    """A distribution at a version, with the SHA-256 of each wheel of it that fits the image."""

    name: str
    version: str
    hashes: tuple[str, ...]
    requires: tuple[str, ...] = ()
    """The names of all distributions that it requires, also of those that no image needs."""
    files: tuple[str, ...] = field(default=(), compare=False)
    """The wheels' file names, in the order of ``hashes``; empty where they are not known."""

    def requirement(self) -> str:
        """Return the package as a line of a requirements file, with its hashes."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{digest}" for digest in self.hashes)])


@dataclass(frozen=True)
class TargetLock:
    """The requirements of one target, the packages that they were resolved to, and its base."""

    python: str
    platform: str
    requirements: tuple[str, ...]
    packages: tuple[Package, ...]
    base: LockedBase | None = None
    """None where it is not pinned: its registry was not asked, or the spec has the digest itself."""
    device: str = "cpu"


@dataclass(frozen=True)
class Pins:
    """What shapes a spec's models besides the packages of their images.

    Attributes:
        sources: the SHA-256 of each file that the spec names, and of those that come with them; see ``sources``.
        tools: the versions of the distributions here that export, convert and compare the model.
        environment: the versions of all distributions in the model's isolated environment, if it has one.
        tolerances: the tolerances in force, by precision and then by the dtype of an output.
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    tolerances: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lock:
    """A whole lock: the targets by name, and what shapes the models of all of them."""

    targets: dict[str, TargetLock]
    pins: Pins = field(default_factory=Pins)


def lock_path(spec: Path) -> Path:
    """Return the path of a spec's lock: ``iris.lock`` for ``iris.yaml``."""
    return spec.with_suffix(".lock")


def name_runtime(entry: TargetLock) -> str:
    """Return the name of what targets of one device and platform share, as ``cpu linux/amd64``."""
    return f"{entry.device} {entry.platform}"


def make_unresolved_lock(spec: Spec, target: str) -> TargetLock:
    """Return what the spec asks for, as a lock without packages."""
    chosen = spec.targets[target]
    requirements = {
        *load_device(chosen.device).requirements, *SERVER_REQUIREMENTS[spec.runtime.server], *spec.image.requirements,
        *(INTAKE_REQUIREMENTS[intake.kind] for intake in list_intakes(spec)),
    }  # fmt: skip
    return TargetLock(spec.image.python, chosen.platform, tuple(sorted(requirements)), (), device=chosen.device)


def name_base(spec: Spec, target: str) -> str:
    """Return the base image of a target as the spec names it, else its device's own."""
    return spec.image.base or load_device(spec.targets[target].device).base


def read(path: Path) -> dict[str, TargetLock]:
    """Read the targets of a lock, by name; raise as ``read_lock`` does."""
    return read_lock(path).targets


def read_lock(path: Path) -> Lock:
    """Read a lock.

    Raises:
        SpecError: it is not a lock that this version wrote.
    """
    try:
        with open_regular(path) as stream:
            text = stream.read(_LIMIT + 1)
        return parse(text)
    except (OSError, ValueError, RecursionError) as error:
        place, words = Location(str(path)), str(error)
        if isinstance(error, json.JSONDecodeError):
            place, words = Location(str(path), error.lineno, error.colno), error.msg
        elif isinstance(error, OSError):
            words = str(error.strerror)
        problem = Problem(f"it is not a lock of this onnxpack version: {words}", name_cure(path), place)
    raise SpecError(problem)


def name_cure(path: Path) -> str:
    """Return the hint that makes the lock at ``path`` anew."""
    return f"run `onnxpack lock {path.with_suffix('.yaml')}`"


def parse(text: bytes) -> Lock:
    """Return the lock that a file's bytes hold.

    Raises:
        ValueError: they hold none of this format; a JSONDecodeError says where they are no JSON.
    """
    if len(text) > _LIMIT:
        raise ValueError(f"it has more than {_LIMIT} bytes")
    try:
        found = read_format(text)
        if found != FORMAT:
            raise ValueError(f"its format is {str(found)[:20]}, and {FORMAT} is read")
        document = msgspec.json.decode(text, type=Document)
    except msgspec.ValidationError as error:
        raise ValueError(_clean(error)) from None
    except msgspec.DecodeError as error:
        json.loads(text)  # it says the line and the column
        raise ValueError(_clean(error)) from None
    runtimes = {name: _read_runtime(name, entry) for name, entry in document.runtimes.items()}
    if lost := sorted(set(document.targets.values()) ^ runtimes.keys()):
        raise ValueError(f"its targets and its runtimes do not fit each other: {lost[0][:100]!r}")
    pins = Pins(document.sources, document.tools, document.environment, document.tolerances)
    return Lock({name: runtimes[runtime] for name, runtime in document.targets.items()}, pins)


def write(path: Path, targets: Mapping[str, TargetLock], pins: Pins | None = None) -> None:
    """Write the lock whole or not at all.

    Raises:
        ValueError: two targets of one device and platform have different entries.
    """
    write_whole(path, write_text(Lock(dict(targets), pins or Pins())))


def write_text(lock: Lock) -> str:
    """Return a lock as the text of its file, which is the same for the same lock.

    Raises:
        ValueError: two targets of one device and platform have different entries.
    """
    shared: dict[str, TargetLock] = {}
    for entry in lock.targets.values():
        if shared.setdefault(name_runtime(entry), entry) != entry:
            raise ValueError(f"two targets of '{name_runtime(entry)}' have different entries")
    pins = lock.pins
    return render(
        Document(
            FORMAT,
            {name: name_runtime(entry) for name, entry in lock.targets.items()},
            {name: _make_runtime(entry) for name, entry in shared.items()},
            dict(pins.sources), dict(pins.tools), dict(pins.environment),
            {name: dict(limits) for name, limits in pins.tolerances.items()},
        )
    )  # fmt: skip


def _make_runtime(entry: TargetLock) -> Runtime:
    packages = {
        one.name: Wheels(one.version, _name_wheels(one), one.requires)
        for one in sorted(entry.packages, key=lambda one: one.name)
    }
    return Runtime(entry.device, entry.platform, entry.python, entry.requirements, packages, entry.base)


def _name_wheels(package: Package) -> dict[str, str]:
    """Map wheels to their hashes; one whose name is not known gets the shortest that says package and version."""
    if package.files:
        return dict(zip(package.files, package.hashes, strict=True))
    stem = f"{re.sub('[-.]+', '_', package.name)}-{package.version}"
    return {f"{stem}-{number}-py3-none-any.whl": digest for number, digest in enumerate(package.hashes, 1)}


def _read_runtime(name: str, entry: Runtime) -> TargetLock:
    """Return what targets share, once it is known to be safe in a Dockerfile and in a requirements file.

    Raises:
        ValueError: its name is not that of its device and platform, or its base image is not written as one.
    """
    if entry.base:
        _require_digest(entry.base)
    packages = tuple(_read_package(name, found) for name, found in sorted(entry.packages.items()))
    made = TargetLock(entry.python, entry.platform, entry.requirements, packages, entry.base, entry.device)
    if name_runtime(made) != name:
        raise ValueError(f"the runtime {name[:100]!r} is of {name_runtime(made)[:100]!r}")
    return made


def _read_package(name: str, found: Wheels) -> Package:
    wheels = dict(sorted(found.wheels.items()))
    return Package(name, found.version, tuple(wheels.values()), tuple(sorted(found.requires)), tuple(wheels))


def _require_digest(base: LockedBase) -> None:
    try:
        digest = parse_reference(base.pinned).digest
    except SpecError as error:
        raise ValueError(error.problems[0].message) from None
    if digest != base.digest or "@" in base.reference:
        raise ValueError(f"a base image's digest is {base.digest[:100]!r}")


def _clean(error: Exception) -> str:
    """Return msgspec's words on a place in the document, in those of a person."""
    return re.sub(r" - at `(?:key in )?`?\$\.?(.*?)`$", r" (\1)", str(error)).replace("`", "'")
