"""What a step of ``preprocess`` is in the ONNX file: the tensors in front of it and behind it."""

from dataclasses import dataclass

from onnxpack.core.values import TensorInfo
from onnxpack.spec.steps import PreprocessStep

FLOATS = ("float16", "float32", "float64")
IMAGE_RANK = 4  # of a batch of images, the only tensors that have a layout


@dataclass(frozen=True)
class PreStage:
    """A step of ``preprocess`` with the tensor ``taken`` in front of it and the tensor ``given`` behind it.

    ``axes`` are the channels (normalize, grayscale, swap; empty if one value is for all), height and width (resize,
    crop), or the axis of ``taken`` for each axis of ``given`` (layout). ``least`` are the fewest pixels that height and
    width may have in front of it.
    """

    step: PreprocessStep
    taken: TensorInfo
    given: TensorInfo
    axes: tuple[int, ...] = ()
    least: tuple[int, ...] = ()


def explain_rank(op: str, given: TensorInfo) -> tuple[str, str]:
    """Return why a step that knows images does not fit a tensor that is none, and what to do."""
    return f"{op} needs a tensor of {IMAGE_RANK} dimensions, and this one has {len(given.shape)}", "remove the step"
