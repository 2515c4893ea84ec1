"""The ONNX nodes of a resize: the operator of this name, and sums and choices of pixels for what it has not."""

from typing import Any

import numpy as np

from onnxpack.spec.stages import PreStage
from onnxpack.transforms.operations import Builder
from onnxpack.transforms.resize import TINY

_RESIZE_AXES_OPSET = 18
"""From here on Resize has axes, and antialias."""


def add_resize(stage: PreStage, nodes: Builder, x: str, mode: str, *, blurs: bool) -> str:
    """Add the operator itself; ``blurs`` says whether it blurs before it makes smaller."""
    assert stage.step.size
    size = nodes.add_constant(np.array(stage.step.size, np.int64), "size")
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "half_pixel"}
    if mode == "cubic":
        attributes["cubic_coeff_a"] = -0.5
    if nodes.opset >= _RESIZE_AXES_OPSET:
        # Without exclude_outside the border's pixels count for all that lies outside, unlike in Pillow.
        blur = {"antialias": 1, "exclude_outside": 1} if blurs else {}
        return nodes.add_node("Resize", [x, "", "", size], axes=list(stage.axes), **attributes, **blur)
    shape = nodes.add_node("Shape", [x])
    first, last = stage.axes
    parts = [add_slice(nodes, shape, range(first)), size, add_slice(nodes, shape, range(last + 1, 4))]
    whole = nodes.add_node("Concat", [part for part in parts if part], axis=0)
    # Opset 11 has no optional inputs here: an empty tensor stands for a missing one.
    none = nodes.add_constant(np.zeros(0, np.float32), "none")
    return nodes.add_node("Resize", [x, none, none, whole], **attributes)


def add_slice(nodes: Builder, shape: str, axes: tuple[int, ...] | range) -> str:
    """Add what takes the sizes of neighbouring axes out of a shape; an empty text for no axes."""
    if not axes:
        return ""
    bounds = [
        nodes.add_constant(np.array([value], np.int64), word)
        for value, word in ((axes[0], "start"), (axes[-1] + 1, "end"))
    ]
    return nodes.add_node("Slice", [shape, *bounds])


def add_nearest(stage: PreStage, nodes: Builder, x: str, dtype: str) -> str:
    """Add a choice of one old pixel for each new one, with the places computed in ``dtype`` as a library does."""
    assert stage.step.size
    shape = nodes.add_node("Shape", [x])
    one = nodes.add_constant(np.array([1], np.int64), "one")
    for axis, out in zip(stage.axes, stage.step.size, strict=True):
        size = add_slice(nodes, shape, (axis,))
        wide = nodes.add_cast(size, dtype)
        new = nodes.add_constant(np.array([out], dtype), "size")
        if dtype == "float64":
            # OpenCV's. As a Div, onnxruntime would join it with the Mul behind it, and round otherwise.
            ratio = nodes.add_node("Reciprocal", [nodes.add_node("Div", [new, wide])])
        else:
            ratio = nodes.add_node("Div", [wide, new])
        places = nodes.add_node("Mul", [nodes.add_constant(np.arange(out, dtype=dtype), "places"), ratio])
        last = nodes.add_cast(nodes.add_node("Sub", [size, one]), dtype)
        chosen = nodes.add_node("Min", [nodes.add_node("Floor", [places]), last])
        x = nodes.add_node("Gather", [x, nodes.add_cast(chosen, "int64")], axis=axis)
    return x


def add_area(stage: PreStage, nodes: Builder, x: str) -> str:
    """Add means of areas: products with a matrix of weights for each axis, computed from the picture's size."""
    assert stage.step.size
    channels_last = stage.axes == (1, 2)
    if channels_last:
        x = nodes.add_node("Transpose", [x], perm=[0, 3, 1, 2])
    shape = nodes.add_node("Shape", [x])
    rows, columns = (
        _add_area_weights(nodes, add_slice(nodes, shape, (axis,)), out)
        for axis, out in zip((2, 3), stage.step.size, strict=True)
    )
    x = nodes.add_node("MatMul", [x, nodes.add_node("Transpose", [columns], perm=[1, 0])])
    x = nodes.add_node("MatMul", [rows, x])
    return nodes.add_node("Transpose", [x], perm=[0, 2, 3, 1]) if channels_last else x


def _add_area_weights(nodes: Builder, size: str, out: int) -> str:
    """Add the weights [out, size] of ``compute_weights(…, "area")``."""

    def constant(value: Any, word: str, dtype: str = "float64") -> str:
        return nodes.add_constant(np.array(value, dtype), word)

    wide = nodes.add_cast(size, "float64")
    ratio = nodes.add_node("Div", [wide, constant([out], "size")])
    start = nodes.add_node("Mul", [constant(np.arange(out)[:, None], "places"), ratio])
    end = nodes.add_node("Add", [start, ratio])
    scalar = nodes.add_node("ReduceMax", [size], keepdims=0)
    old = nodes.add_node("Range", [constant(0, "zero", "int64"), scalar, constant(1, "step", "int64")])
    left = nodes.add_cast(old, "float64")
    right = nodes.add_node("Add", [left, constant([1], "unit")])
    shares = nodes.add_node("Sub", [nodes.add_node("Min", [end, right]), nodes.add_node("Max", [start, left])])
    counts = nodes.add_cast(nodes.add_node("Greater", [shares, constant([TINY], "tiny")]), "float64")
    covered = nodes.add_node("Min", [ratio, nodes.add_node("Sub", [wide, start])])
    weights = nodes.add_node("Div", [nodes.add_node("Mul", [shares, counts]), covered])
    return nodes.add_cast(weights, "float32")
