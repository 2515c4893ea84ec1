"""The values that flow between stages: frozen and framework-free."""

from dataclasses import dataclass, field
from pathlib import Path

from onnxpack.core.artifacts import Artifact

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

    file: Artifact
    sha256: str
    """Of the file itself; ``file.digest`` counts the external data beside it too."""
    opset: int
    ir_version: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    size_bytes: int
    ops: tuple[str, ...]
    """The operator types in it, sorted."""
    precision: str = "float32"

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.file.path


@dataclass(frozen=True)
class Changed:
    """What a stage made of a model, and what a person should know about it."""

    model: OnnxModel
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """The source model's own answers: a folder of ``<case>.inputs.npz`` and ``<case>.outputs.npz``.

    Cases are in the order of ``cases``; each npz holds one array per input or output, by its name.
    """

    files: Artifact
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

    @property
    def folder(self) -> Path:
        """Where the cases are."""
        return self.files.path

    def opt_case(self, axes: tuple[Axis, ...]) -> str:
        """The case at the axes' opt sizes, by which speed is measured; the first one, if that is not there."""
        wanted = {axis.name: axis.opt for axis in axes}
        named = zip(self.cases, self.sizes, strict=False)
        return next((case for case, sizes in named if sizes == wanted), self.cases[0])


@dataclass(frozen=True)
class Exported:
    """What an export leaves: the model, and what it and all later stages are judged against."""

    model: OnnxModel
    reference: Reference
    """The source model's own answers: what an export is judged by."""
    served: Reference
    """What a client is to get, pre- and postprocessing included: what everything after it is judged by."""
    evaluation: Artifact | None = None
    """The source model's outputs for the evaluation data."""
    exporter: str | None = None
    """What wrote the model, where its framework has more than one exporter."""


@dataclass(frozen=True)
class Score:
    """The metric's value, and how many rows it is of."""

    value: float
    rows: int
