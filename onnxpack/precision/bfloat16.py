"""Reduce to bfloat16, float32's range with 8 bits of precision; for CUDA, as the CPU has no such kernels."""

import onnx

from onnxpack.graph.check import get_opset
from onnxpack.precision import Converted, Job, Wish, half
from onnxpack.precision.fitness import fit_everything
from onnxpack.spec.traits import PrecisionTraits

TRAITS = PrecisionTraits(
    noise=(0.1, 0.05),
    min_opset=13,
    refused_on={"cpu": ("bfloat16 has no arithmetic on the CPU", "use device: cuda, or float32")},
    tried_on={"cuda": 1},
    behind_optimize=True,
)

_MIN_OPSET = 13
"""From here on bfloat16 is an ordinary dtype."""


def refusal(wish: Wish, model: onnx.ModelProto) -> str:
    """Refuse other devices than CUDA, and models of an older opset."""
    if wish.device != "cuda":
        return "there is no bfloat16 arithmetic on the CPU"
    if get_opset(model) < _MIN_OPSET:
        return f"it needs opset {_MIN_OPSET}, the model has {get_opset(model)}"
    return ""


def convert(job: Job) -> Converted:
    """Convert by ``half.convert``; nothing overflows that did not before."""
    return half.convert(job, onnx.TensorProto.BFLOAT16, fit_everything())
