"""The frozen values that stages exchange; none depends on a framework."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from onnxpack.core.artifacts import Artifact

MODEL = "model.onnx"
REFERENCE = "reference"
SERVED = "served"
"""The names in an export: the model, the folder of its Reference, and that of the one with the steps around it."""

CLIENT = "client"
"""How the names of the cases begin that hold what a client of the image sends."""
REQUEST = ".client.json"
"""What follows such a case's name in the name of the file with its request, by the Open Inference Protocol."""
ANSWERS = ".answers.npz"
"""The same of the file with a client's outputs, where the module makes some of them of the ONNX file's."""

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


def find_batch_axis(inputs: Iterable[TensorInfo], outputs: Iterable[TensorInfo]) -> str | None:
    """Return the name of the axis that is dimension 0 of every input and output, if there is one."""
    firsts = {info.shape[:1] for info in (*inputs, *outputs)}
    first = firsts.pop() if len(firsts) == 1 else ()
    return first[0] if first and isinstance(first[0], str) else None


@dataclass(frozen=True)
class Axis:
    """A dynamic axis and the sizes that it is verified for: ``min`` ≤ ``opt`` ≤ ``max``."""

    name: str
    min: int
    opt: int
    max: int


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file with its opset, inputs and other facts, which were all read from the file itself."""

    file: Artifact
    sha256: str
    """The SHA-256 of the file itself; ``file.digest`` also covers the external data beside it."""
    opset: int
    ir_version: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    size_bytes: int
    nodes: dict[str, int]
    """How many nodes of each operator type are in it, by the types in alphabetical order; those of functions once."""
    precision: str = "float32"
    weights: dict[str, int] = field(default_factory=dict)
    """The bytes of its constants by dtype."""
    classes: tuple[str, ...] = ()
    """The words for the scores of a classifier of scikit-learn's kind, in order."""

    @property
    def path(self) -> Path:
        """Return the file's path."""
        return self.file.path

    @property
    def ops(self) -> tuple[str, ...]:
        """Return the operator types in it, in alphabetical order."""
        return tuple(self.nodes)


@dataclass(frozen=True)
class Changed:
    """The model that a stage made of another one, and notes about it for a person."""

    model: OnnxModel
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """The source model's own outputs: a folder of ``<case>.inputs.npz`` and ``<case>.outputs.npz``.

    Cases are in the order of ``cases``; each npz holds one array per input or output, by its name.
    """

    files: Artifact
    cases: tuple[str, ...]
    sizes: tuple[dict[str, int], ...] = field(default=())
    """The size of every dynamic axis, case by case."""
    notes: tuple[str, ...] = ()
    """Notes on what of the spec no case covers, and why, and on what both models do with values outside the spec."""
    hunted: dict[str, dict[str, int]] = field(default_factory=dict)
    """More cases, found by a search for inputs at which an export may go wrong, with the sizes of their axes.

    They are not what the model is used on, so only single values are compared on them: they count neither for the noise
    nor for the speed of a reduced model, and nothing is calibrated on them.
    """

    units: dict[str, float] = field(default_factory=dict)
    """The unit of the last digit of outputs that are rounded, by their names."""

    @property
    def asked(self) -> tuple[str, ...]:
        """Return the cases that an image can be asked: those of a client's requests, if clients send no tensors."""
        return tuple(case for case in self.cases if case.startswith(CLIENT)) or self.cases

    def name_request(self, case: str) -> str:
        """Return the name of the file with what an image is sent in a case."""
        request = f"{case}{REQUEST}"
        return request if (self.folder / request).exists() else f"{case}.inputs.npz"

    def select_cases(self, precision: str) -> tuple[str, ...]:
        """Return the cases to compare a model of this precision on; the hunted ones are for float32 alone."""
        return (*self.cases, *self.hunted) if precision == "float32" else self.cases

    @property
    def all_sizes(self) -> dict[str, dict[str, int]]:
        """Return the sizes of the axes of every case, by the case's name."""
        return dict(zip(self.cases, self.sizes, strict=True)) | self.hunted

    @property
    def folder(self) -> Path:
        """Return the folder of the cases."""
        return self.files.path

    def opt_case(self, axes: tuple[Axis, ...], among: tuple[str, ...] = ()) -> str:
        """Return the case at the axes' opt sizes, which speed is measured on, or else the first; by default of all."""
        wanted = {axis.name: axis.opt for axis in axes}
        named = zip(self.cases, self.sizes, strict=False)
        fitting = [case for case, sizes in named if wanted.items() <= sizes.items()]
        return next((case for case in fitting if case in among or not among), (among or self.cases)[0])


@dataclass(frozen=True)
class Exported:
    """The results of an export: the model, and the outputs that it and all later models are compared with."""

    model: OnnxModel
    reference: Reference
    """The source model's own outputs, which the exported model is compared with."""
    served: Reference
    """What a client is to get, pre- and postprocessing included; every later model is compared with it."""
    evaluation: Artifact | None = None
    """The source model's outputs for the evaluation data."""
    exporter: str | None = None
    """What wrote the model, where its framework has more than one exporter."""


@dataclass(frozen=True)
class Score:
    """A metric's value, and the number of rows that it was computed on."""

    value: float
    rows: int
