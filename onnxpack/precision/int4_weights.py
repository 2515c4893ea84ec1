"""Weights of matrix products in 4 bits; the arithmetic around them stays in float32."""

import onnx

from onnxpack.precision import Converted, Job, Wish, weights
from onnxpack.spec.traits import PrecisionTraits

TRAITS = PrecisionTraits(
    noise=(0.5, 0.2),
    tried_on={"cpu": 3},
)


def refusal(wish: Wish, model: onnx.ModelProto) -> str:
    """Only products with constant weights can be packed."""
    return weights.refusal(model)


def convert(job: Job) -> Converted:
    """See weights.convert."""
    return weights.convert(job, 4)
