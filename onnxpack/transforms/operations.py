"""What an operation of ``postprocess`` is made of: the outputs that it gives, its numpy form, and its ONNX nodes.

The numpy form and the nodes of an operation stand side by side, in one module for each family, since they must compute
the same. In numpy arithmetic is that of float64, rounded once to the result's dtype; nodes compute in float32 where
that is enough, and in float64 where a rounding of float32 would show.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from onnxpack.core.errors import SpecError
from onnxpack.core.values import Shape, TensorInfo
from onnxpack.spec.served import FLOATS
from onnxpack.spec.steps import PostprocessStep

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
Array = np.ndarray[Any, Any]
Labels = tuple[str, ...]


@dataclass(frozen=True)
class PostStage:
    """A step of ``postprocess`` with the outputs ``taken``, its own first, and ``given``; ``axis`` is not negative."""

    step: PostprocessStep
    taken: tuple[TensorInfo, ...]
    given: tuple[TensorInfo, ...]
    axis: int = 0
    labels: Labels = ()

    @property
    def source(self) -> TensorInfo:
        """Return the output that the step is named for."""
        return self.taken[0]


class Builder(Protocol):
    """What the nodes of a step are added to, in the opset of a model; methods return the names of new tensors."""

    opset: int

    def add_node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node of one output."""

    def add_nodes(self, op: str, inputs: list[str], count: int, **attributes: Any) -> list[str]:
        """Add a node of ``count`` outputs."""

    def add_constant(self, value: Array, word: str) -> str:
        """Add a constant, named for what it is."""

    def add_cast(self, x: str, to: str, have: str | None = None) -> str:
        """Add a cast to a dtype, unless the tensor is known to have it."""


@dataclass(frozen=True)
class Operation:
    """One operation: how it is planned, computed and expressed.

    ``plan`` raises a ``SpecError`` where the operation does not fit its outputs, ``compute`` where the values do not,
    and ``express`` a ``SourceError`` where the model's opset lacks what it needs.
    """

    plan: Callable[[PostprocessStep, tuple[TensorInfo, ...], Labels], PostStage]
    compute: Callable[[PostStage, tuple[Array, ...]], tuple[Array, ...]]
    express: Callable[[PostStage, Builder, list[str]], list[str]]


def make_refusal(step: PostprocessStep, words: str, hint: str = "") -> SpecError:
    """Make the error that says why a step does not fit."""
    return SpecError(
        f"postprocess: {step.op} {words}", hint or "correct the step, or set its `input` to another output"
    )


def require_floats(step: PostprocessStep, taken: TensorInfo) -> None:
    """Require an output of floats.

    Raises:
        SpecError: it has another dtype.
    """
    if taken.dtype not in FLOATS:
        raise make_refusal(step, f"is for floats, and '{taken.name}' is {taken.dtype}")


def resolve_axis(step: PostprocessStep, taken: TensorInfo) -> int:
    """Return the step's axis, counted from the first one; without one, the last.

    Raises:
        SpecError: the output has fewer dimensions.
    """
    rank = len(taken.shape)
    axis = -1 if step.axis is None else step.axis
    if not -rank <= axis < rank:
        raise make_refusal(step, f"is along axis {axis}, and '{taken.name}' has {rank} dimensions")
    return axis % rank


def drop_axis(shape: Shape, axis: int) -> Shape:
    """Return a shape without one of its axes."""
    return (*shape[:axis], *shape[axis + 1 :])


def choose_compute_dtype(dtype: str) -> str:
    """Return the dtype that nodes compute in: runtimes lack many operators in float16, or round after each."""
    return "float32" if dtype == "float16" else dtype
