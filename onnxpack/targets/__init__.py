"""Describe the packages and settings that each device needs in its images, in one file or folder for each device."""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from onnxpack.core.errors import SpecError

RUNTIME_LABEL = "dev.onnxpack.onnxruntime"
_SHOWN = 3
"""How many operators a reason names."""


class Locked(Protocol):
    """A locked distribution, with the names of all distributions that it requires."""

    @property
    def name(self) -> str:
        """Return its normalized name."""

    @property
    def version(self) -> str:
        """Return its version."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Return the names of what it requires."""


@dataclass(frozen=True)
class Library:
    """A distribution of shared libraries, and what of the device's execution provider needs it.

    Attributes:
        title: what people call it.
        linked_by: the file that links it, so that every model needs it; empty if it is loaded when an operator asks.
        users: what each operator that loads it computes with it.
    """

    distribution: str
    title: str
    linked_by: str = ""
    users: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Versions:
    """What the versions of locked packages say of an image: its labels and environment variables."""

    labels: dict[str, str]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Distribution:
    """A locked distribution, whether the image has it, and the reason for that."""

    name: str
    version: str
    kept: bool
    reason: str


def label_runtime(packages: Iterable[Locked]) -> dict[str, str]:
    """Return the label of onnxruntime's version, whichever of its distributions the lock holds.

    Raises:
        SpecError: the lock holds none of them.
    """
    for package in packages:
        if package.name.startswith("onnxruntime"):
            return {RUNTIME_LABEL: package.version}
    raise SpecError("the lock holds no onnxruntime", "run `onnxpack lock SPEC`")


@dataclass(frozen=True)
class Device:
    """The Python packages and settings of a device's images.

    Attributes:
        gpu: whether the model runs on a GPU, which the machine that builds may lack.
        base: the default base image; it must have the right Python and the C++ runtime.
        requirements: what the generated module imports, by distribution.
        unused: dependencies that the wheels declare and the module never imports.
        env: environment variables of the image.
        libraries: the distributions that only some models need.
        known_ops: all operators of which it is known whether they load one of these.
        fused_ops: the operators that onnxruntime makes of others when it loads a model, with those that it needs.
        read_versions: the function that checks locked packages against each other, and says what to label.
    """

    name: str
    gpu: bool
    base: str
    requirements: tuple[str, ...]
    unused: frozenset[str]
    env: dict[str, str]
    libraries: tuple[Library, ...] = ()
    known_ops: frozenset[str] = frozenset()
    fused_ops: Mapping[str, frozenset[str]] = field(default_factory=dict)
    read_versions: Callable[[Sequence[Locked]], Versions] = lambda packages: Versions(label_runtime(packages))


def explain_distributions(
    device: Device, packages: Iterable[Locked], ops: frozenset[str], asked: Mapping[str, str]
) -> tuple[Distribution, ...]:
    """Say of each locked distribution whether the image of a model with these operators has it, and why.

    ``asked`` has the reasons for those that are not there because another one requires them. What is not known to be
    needless stays.
    """
    packages, libraries = tuple(packages), {library.distribution: library for library in device.libraries}
    parents: dict[str, list[str]] = {}
    for package in packages:
        for name in package.requires:
            parents.setdefault(name, []).append(package.name)
    found = []
    for package in packages:
        if library := libraries.get(package.name):
            kept, reason = _explain_library(device, library, ops)
        else:
            kept, reason = (
                True,
                asked.get(package.name) or f"required by {_join(parents.get(package.name, ['a wheel']))}",
            )
        found.append(Distribution(package.name, package.version, kept, reason))
    return tuple(found)


def _explain_library(device: Device, library: Library, ops: frozenset[str]) -> tuple[bool, str]:
    """Return whether a model with these operators needs a library, and the reason."""
    if library.linked_by:
        return True, f"linked by {library.linked_by}"
    if users := sorted(ops & library.users.keys()):
        return True, f"loaded by {_join([f'{name} ({library.users[name]})' for name in users])}"
    for made, parts in sorted(device.fused_ops.items()):
        if made in library.users and parts <= ops:
            made_of = " and ".join(sorted(parts))
            return True, f"loaded by {made} ({library.users[made]}), which onnxruntime makes of {made_of}"
    if unknown := sorted(ops - device.known_ops):
        return True, f"kept: whether {_join(unknown)} loads it is not known"
    return False, f"left out: no operator of this model loads {library.title}"


def _join(names: Sequence[str]) -> str:
    """Return the names as words, those behind the first few as their number."""
    shown, more = list(names[:_SHOWN]), len(names) - _SHOWN
    shown += [f"{more} more"] if more > 0 else []
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


@cache
def list_device_names() -> tuple[str, ...]:
    """Return the devices that the spec can name, in alphabetical order: the modules of this package."""
    found = Path(__file__).parent.iterdir()
    modules = (path for path in found if path.suffix == ".py" or (path / "__init__.py").is_file())
    return tuple(sorted(path.stem for path in modules if path.stem != "__init__"))


@cache
def load_device(name: str) -> Device:
    """Return the device that the spec calls ``name``."""
    found: Device = importlib.import_module(f"onnxpack.targets.{name}").DEVICE
    return found
