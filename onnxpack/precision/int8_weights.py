"""Pack weights of matrix products into 8 bits; the arithmetic around them stays in float32."""

import onnx

from onnxpack.precision import Converted, Job, Wish, weights

NAME = "int8-weights"


def refusal(wish: Wish, model: onnx.ModelProto) -> str:
    """Refuse models without products with constant weights, which alone can be packed."""
    return weights.refusal(model)


def convert(job: Job) -> Converted:
    """Convert by ``weights.convert``."""
    return weights.convert(job, 8)
