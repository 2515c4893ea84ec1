"""The traits of frameworks and precisions, which are found in the files of their packages, one file each.

Such a file says it in one assignment of literals, ``TRAITS = FrameworkTraits(…)`` or ``TRAITS = PrecisionTraits(…)``.
It is read from the source, and the file is not imported: that would import a framework into the process that plans. A
new file is all that a new framework or precision needs: the spec's choices and rules follow from what it says.

The trace of a child process does not see these reads. So a task may ask for the traits of its own framework, whose
module it imports, and what it needs to know of a precision travels in its request.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

RUNTIME_MAX_OPSET = 26
"""The highest opset that the pinned onnxruntime reads."""
FLOAT32, AUTO = "float32", "auto"
"""The precisions that are no conversion: no change, and the choice among the others."""

_PACKAGE = Path(__file__).resolve().parents[1]
_TRAITS = re.compile(r"^TRAITS = (\w+\(.*?^\))", re.MULTILINE | re.DOTALL)
TraitsT = TypeVar("TraitsT")


@dataclass(frozen=True)
class FrameworkTraits:
    """The properties of a source framework that the spec's rules need.

    Attributes:
        fields: the fields of ``model`` that it takes, besides those that all take.
        folder: if a model is a folder, the names of the files in it that the framework reads where they are there, the
            first always.
        endings: the endings of whole models' file names; empty if any name will do.
        safe_endings: the endings of files that run no code when they are loaded; all others need a digest.
        weights_endings: the endings of weights' file names, if it takes weights.
        packages: the packages, besides its own requirements, whose code a spec may name without ``--trust``.
        max_opset: the highest opset that its exporter makes.
        exporter_opsets: the same for exporters that the spec can name, if it differs.
        reducible: whether its models compute on tensors of floats, which can have fewer bits.
        environment: the pins of an isolated environment, which it always has if these are given.
        needs: the packages that such an environment needs besides the pins of a spec.
    """

    fields: tuple[str, ...] = ("path", "sha256")
    folder: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    safe_endings: tuple[str, ...] = ()
    weights_endings: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    max_opset: int = RUNTIME_MAX_OPSET
    exporter_opsets: Mapping[str, int] = field(default_factory=dict)
    reducible: bool = True
    environment: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class PrecisionTraits:
    """The properties of a reduced precision that a plan needs.

    Attributes:
        noise: the greatest noise that it may add, as a share of an output's spread (0.02 is an SQNR of 34 dB, 0.25 of
            12 dB, 0.5 of 6 dB), and the greatest share of labels that may differ. They keep destroyed models out; how
            much accuracy may be lost is for ``gates.max_degradation`` to say.
        judged_singly: whether values within the tolerance of its dtype are right whatever their noise.
        min_opset: the lowest opset that can express it.
        refused_on: devices that cannot compute it: what to say, and what to do instead.
        tried_on: for `precision: auto`, the devices on which it may help; the lowest number is tried first.
        calibrated: whether it reads calibration data.
        per_channel: whether its weights may have a scale for each channel.
        behind_optimize: whether the graph is optimised before the conversion: quantizers know no fused nodes, and a
            model of 16 bits would be filled with casts.
    """

    noise: tuple[float, float]
    judged_singly: bool = False
    min_opset: int = 1
    refused_on: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    tried_on: Mapping[str, int] = field(default_factory=dict)
    calibrated: bool = False
    per_channel: bool = False
    behind_optimize: bool = False


@cache
def frameworks() -> Mapping[str, FrameworkTraits]:
    """Return the traits of every source framework by the spec's word, which is the name of its file or folder."""
    return MappingProxyType(_read_traits("sources", FrameworkTraits))


@cache
def precisions() -> Mapping[str, PrecisionTraits]:
    """Return the traits of every reduced precision by the spec's word: its file's name, with hyphens."""
    found = _read_traits("precision", PrecisionTraits)
    return MappingProxyType({name.replace("_", "-"): traits for name, traits in found.items()})


def list_calibrated_precisions() -> tuple[str, ...]:
    """Return the words of ``precision`` that read calibration data; ``auto`` may choose one of them."""
    return (*(name for name, traits in precisions().items() if traits.calibrated), AUTO)


def _read_traits(package: str, kind: type[TraitsT]) -> dict[str, TraitsT]:
    """Read the traits in the modules of a package, by the modules' names in alphabetical order.

    Raises:
        ValueError: a module's traits are not made of literals, or of another class.
    """
    found = {}
    for path in sorted((_PACKAGE / package).iterdir()):
        source = path / "__init__.py" if path.is_dir() else path
        text = source.read_text(encoding="utf-8") if source.suffix == ".py" and source.is_file() else ""
        if match := _TRAITS.search(text):
            call = ast.parse(match[1], mode="eval").body
            if not isinstance(call, ast.Call) or ast.unparse(call.func) != kind.__name__ or call.args:
                raise ValueError(f"{source}: TRAITS must be {kind.__name__}(…) with named arguments")
            given = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
            found[path.stem] = kind(**given)
    return found
