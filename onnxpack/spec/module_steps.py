"""Tells which steps of ``preprocess`` the generated module does, and which become nodes of the ONNX file."""

from onnxpack.spec.model import Spec

PICTURE_OPS = ("decode", "orient", "grayscale", "swap", "crop", "resize")
"""The steps that know a picture; behind ``decode`` the module does them, one picture at a time."""


def list_module_steps(spec: Spec) -> tuple[int, ...]:
    """Return the places of the steps that the module does.

    These are ``tokenize``, and of each input whose first step is ``decode`` its picture steps, up to the
    first other one.
    """
    found = []
    decoded: dict[str, bool] = {}
    """For each input that was seen, whether its value is still a picture in the module."""
    for index, step in enumerate(spec.preprocess):
        if step.op == "tokenize":
            found.append(index)
            continue
        inside = decoded.get(step.input, step.op == "decode") and step.op in PICTURE_OPS
        decoded[step.input] = inside
        if inside:
            found.append(index)
    return tuple(found)
