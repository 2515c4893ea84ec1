"""Describe the packages and settings that each device needs in its images, in one module for each device."""

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Device:
    """The Python packages and settings of a device's images.

    Attributes:
        gpu: whether the model runs on a GPU, which the machine that builds may lack.
        base: the default base image; it must have the right Python and the C++ runtime.
        requirements: what the generated module imports, by distribution.
        needless_for: distributions to leave out of the image of a model that uses no operator but these.
        only_for: distributions to leave out of the image of a model that uses none of these operators.
        unused: dependencies that the wheels declare and the module never imports.
        env: environment variables of the image.
    """

    name: str
    gpu: bool
    base: str
    requirements: tuple[str, ...]
    needless_for: dict[str, frozenset[str]]
    only_for: dict[str, frozenset[str]]
    unused: frozenset[str]
    env: dict[str, str]

    def find_unneeded(self, ops: frozenset[str]) -> frozenset[str]:
        """Return the distributions that a model with these operators does not load."""
        needless = {name for name, plain in self.needless_for.items() if ops <= plain}
        return frozenset(needless | {name for name, users in self.only_for.items() if not ops & users})


@cache
def list_device_names() -> tuple[str, ...]:
    """Return the devices that the spec can name, in alphabetical order: the modules of this package."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"))


@cache
def load_device(name: str) -> Device:
    """Return the device that the spec calls ``name``."""
    found: Device = importlib.import_module(f"onnxpack.targets.{name}").DEVICE
    return found
