"""Pack weights of matrix products into 8 bits; the arithmetic around them stays in float32."""

import onnx

from onnxpack.precision import Converted, Job, Wish, weights
from onnxpack.spec.traits import PrecisionTraits

TRAITS = PrecisionTraits(
    noise=(0.25, 0.1),
    tried_on={"cpu": 2},
)


def refusal(wish: Wish, model: onnx.ModelProto) -> str:
    """Refuse models without products with constant weights, which alone can be packed."""
    return weights.refusal(model)


def convert(job: Job) -> Converted:
    """Convert by ``weights.convert``."""
    return weights.convert(job, 8)
