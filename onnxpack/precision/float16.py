"""Reduce to float16; inputs and outputs keep their dtypes, and what overflows stays in float32."""

import onnx

from onnxpack.precision import Converted, Job, Wish, half
from onnxpack.precision.fitness import measure_fitness
from onnxpack.spec.traits import PrecisionTraits

TRAITS = PrecisionTraits(
    noise=(0.02, 0.02),
    # An output that hardly varies has much noise and may be right all the same.
    judged_singly=True,
    # The CPU computes float16 by converting it, so it is tried on GPUs alone.
    tried_on={"cuda": 0},
    behind_optimize=True,
)


def refusal(wish: Wish, model: onnx.ModelProto) -> str:
    """Refuse nothing: ``reduce`` checks whether it changed any float32 tensor."""
    return ""


def convert(job: Job) -> Converted:
    """Convert by ``half.convert``; the Reference and the calibration data show which values overflow."""
    fitness = measure_fitness(job)
    return half.convert(job, onnx.TensorProto.FLOAT16, fitness)
