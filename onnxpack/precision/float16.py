"""Reduce to float16; inputs and outputs keep their dtypes, and what overflows stays in float32."""

import onnx

from onnxpack.precision import Converted, Job, Wish, half
from onnxpack.precision.fitness import of_float16

NAME = "float16"


def refusal(wish: Wish, model: onnx.ModelProto) -> str:
    """Refuse nothing: ``reduce`` checks whether it changed any float32 tensor."""
    return ""


def convert(job: Job) -> Converted:
    """Convert by ``half.convert``; the Reference and the calibration data show which values overflow."""
    fitness = of_float16(job)
    return half.convert(job, onnx.TensorProto.FLOAT16, fitness)
