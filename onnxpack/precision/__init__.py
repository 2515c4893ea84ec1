"""Define what a reduced precision is asked and what it gives; each has one file, which meets ``Precision``.

Nothing here imports onnx: the parent plans with these values. ``onnxpack.precision.reduce`` is the child's side.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from onnxpack.core.values import OnnxModel, Reference
from onnxpack.spec.part import SpecPart
from onnxpack.spec.traits import PrecisionTraits, precisions

if TYPE_CHECKING:
    import onnx

    from onnxpack.data.test_inputs import Arrays

OWN_PREFIXES = ("preprocess/", "postprocess/")
"""Names of nodes that are put around a model; they keep their precision always."""


@dataclass(frozen=True)
class Wish:
    """A request for a reduced precision."""

    precision: str
    device: str = "cpu"
    isa: str | None = None
    per_channel: bool | None = None
    exclude_nodes: tuple[str, ...] = ()
    """Names of nodes, or operator types, that stay in float32."""
    without: tuple[str, ...] = ()
    """int8-static: layers, by the names that ``sensitivity`` gives them, that stay in float32 besides."""
    seed: int = 0


@dataclass(frozen=True)
class Samples:
    """Inputs that show which values a model's tensors take."""

    reference: Reference
    spec: SpecPart | None = None
    """What the calibration data needs; without it the Reference's cases are all there is."""
    data: str = ""
    """The spec's ``calibration.data``."""
    rows: int = 256
    method: str = "minmax"


@dataclass(frozen=True)
class Contents:
    """A model's contents: nodes by operator type, and bytes of weights by dtype."""

    size_bytes: int
    ops: dict[str, int]
    weights: dict[str, int]


@dataclass(frozen=True)
class Left:
    """A node that could have been reduced and stays in float32."""

    node: str
    op: str
    why: str


@dataclass(frozen=True)
class Reduced:
    """A model in a reduced precision, and how it differs from the float32 one."""

    model: OnnxModel
    before: Contents
    after: Contents
    left: tuple[Left, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One model to reduce, with its data."""

    path: Path
    """The float32 file."""
    model: "onnx.ModelProto"
    """Its content, weights included, every node named; a converter may change it."""
    wish: Wish
    excluded: frozenset[str]
    """Names of the nodes that stay in float32: the wish's, and those of pre- and postprocessing."""
    cases: "Callable[[], Iterator[Arrays]]"
    """The Reference's inputs, case by case; each call begins anew."""
    batches: "Callable[[], Iterator[Arrays]] | None"
    """Calibration data, one batch at a time; None where there is none."""
    method: str
    """How ranges are chosen: ``minmax``, ``entropy`` or ``percentile``."""
    scratch: Path
    """An empty folder for what is needed meanwhile."""
    say: Callable[[str], None] = lambda text: None
    """Tells a person how far it is, in one line."""
    calibration: Path | None = None
    """The folder that ``reduce.calibrate_model`` filled, if it ran before: int8-static then runs nothing."""


@dataclass(frozen=True)
class Converted:
    """The reduced model, the nodes that stayed in float32, and notes for the report."""

    model: "onnx.ModelProto"
    left: tuple[Left, ...] = ()
    notes: tuple[str, ...] = ()


class Precision(Protocol):
    """What a module of one precision offers, beside its traits."""

    TRAITS: PrecisionTraits

    def refusal(self, wish: Wish, model: "onnx.ModelProto") -> str:
        """Return in words why this precision is of no use for the model or the device; empty where it is."""

    def convert(self, job: Job) -> Converted:
        """Return the model in this precision: same inputs, outputs and dtypes, same bytes for the same job.

        Raises:
            OnnxpackError: it cannot be done.
        """


class Calibrating(Precision, Protocol):
    """One that looks at calibration data, once for many tries."""

    def calibrate(self, job: Job, folder: Path) -> int:
        """Write what the data shows into a folder, for ``Job.calibration``; return how many tensors were looked at.

        Raises:
            SpecError: there is no calibration data.
            SourceError: the model fails on it.
        """


def load_precision(name: str) -> Precision:
    """Return the module of a precision, by the spec's word."""
    if name not in precisions():
        raise ValueError(name)
    # Loaded only when it is asked for: these modules import onnx, and the parent does not.
    return cast(Precision, importlib.import_module(f"{__name__}.{name.replace('-', '_')}"))


def is_own_node(name: str) -> bool:
    """Return whether a node belongs to pre- or postprocessing."""
    return name.startswith(OWN_PREFIXES)


def summarize_left(left: Sequence[Left]) -> list[str]:
    """Summarise the nodes that stayed in float32, one line for each operator and reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in left:
        groups.setdefault((item.op, item.why), []).append(item.node)
    return [
        f"{len(nodes)} {op} left in float32 ({why}): {', '.join(nodes[:3])}{', …' if len(nodes) > 3 else ''}"
        for (op, why), nodes in groups.items()
    ]
