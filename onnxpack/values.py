"""The values that flow between stages: frozen, framework-free, and JSON on disk."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODEL = "model.onnx"
REFERENCE = "reference"
SERVED = "served"
"""The names in an export: the model, the folder of its Reference, and that of the one with the steps around it."""

Shape = tuple[int | str, ...]
"""Sizes in order; a name is a dynamic axis."""


@dataclass(frozen=True)
class TensorInfo:
    """A model's input or output.

    ``dtype`` is the spec's word: a numpy dtype name, ``bfloat16`` or ``string``.
    """

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True)
class Axis:
    """A dynamic axis and the sizes that it is verified for: ``min`` ≤ ``opt`` ≤ ``max``."""

    name: str
    min: int
    opt: int
    max: int


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file whose facts were read back from the file itself, never assumed."""

    path: Path
    sha256: str
    opset: int
    ir_version: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    size_bytes: int
    ops: tuple[str, ...]
    """The operator types in it, sorted."""
    precision: str = "float32"


@dataclass(frozen=True)
class Reference:
    """The source model's own answers: a folder of ``<case>.inputs.npz`` and ``<case>.outputs.npz``.

    Cases are in the order of ``cases``; each npz holds one array per input or output, by its name.
    """

    folder: Path
    cases: tuple[str, ...]
    sizes: tuple[dict[str, int], ...] = field(default=())
    """The size of every dynamic axis, case by case."""
    notes: tuple[str, ...] = ()
    """What of the spec is not among the cases, and why; what both models make of values that it does not declare."""
    hunted: dict[str, dict[str, int]] = field(default_factory=dict)
    """More cases, that were searched for, with the sizes of their axes.

    They are where an export would be wrong, not what the model is used on: they judge single values, and neither the
    noise of a reduced model nor its speed, and nothing is calibrated on them.
    """

    def judging(self, precision: str) -> tuple[str, ...]:
        """Return the cases that judge a model of this precision: the hunted ones only one that rounds nothing."""
        return (*self.cases, *self.hunted) if precision == "float32" else self.cases

    @property
    def all_sizes(self) -> dict[str, dict[str, int]]:
        """The axes' sizes of every case by its name."""
        return dict(zip(self.cases, self.sizes, strict=True)) | self.hunted

    def opt_case(self, axes: tuple[Axis, ...]) -> str:
        """The case at the axes' opt sizes, by which speed is measured; the first one, if that is not there."""
        wanted = {axis.name: axis.opt for axis in axes}
        named = zip(self.cases, self.sizes, strict=False)
        return next((case for case, sizes in named if sizes == wanted), self.cases[0])


def model_from(facts: dict[str, Any], path: Path) -> OnnxModel:
    """The value from its JSON, for the file at ``path``."""
    tensors = {
        part: tuple(TensorInfo(item["name"], item["dtype"], tuple(item["shape"])) for item in facts[part])
        for part in ("inputs", "outputs")
    }
    return OnnxModel(**{**facts, **tensors, "path": path, "ops": tuple(facts["ops"])})
