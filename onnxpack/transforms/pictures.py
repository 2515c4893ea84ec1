"""The operations of ``preprocess`` that know pictures: grayscale, swap, crop and resize, in numpy and as ONNX nodes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpack.spec.graph_pictures import ANTIALIAS, choose_kernel, get_weights
from onnxpack.spec.stages import PreStage
from onnxpack.transforms.operations import Array, Builder, choose_compute_dtype
from onnxpack.transforms.resize import resize_array
from onnxpack.transforms.resize_nodes import add_area, add_nearest, add_resize, add_slice

_REDUCE_INPUT_OPSET = 13
"""From here on the axes are an input of ReduceSum."""


@dataclass(frozen=True)
class PictureOperation:
    """One operation: how it is computed, and expressed; ``antialias`` says whether ONNX's own resize blurs."""

    compute: Callable[[PreStage, Array, bool], Array]
    express: Callable[[PreStage, Builder, str, bool], str]


def _compute_grayscale(stage: PreStage, array: Array, _: bool) -> Array:
    wide = array.astype(np.float64) * _shape_weights(stage)
    return np.asarray(wide.sum(axis=stage.axes[0], keepdims=True), stage.given.dtype)


def _express_grayscale(stage: PreStage, nodes: Builder, x: str, _: bool) -> str:
    dtype, axis = choose_compute_dtype(stage.given.dtype), stage.axes[0]
    x = nodes.add_cast(x, dtype, stage.given.dtype)
    x = nodes.add_node("Mul", [x, nodes.add_constant(_shape_weights(stage).astype(dtype), "weights")])
    if nodes.opset < _REDUCE_INPUT_OPSET:
        x = nodes.add_node("ReduceSum", [x], axes=[axis], keepdims=1)
    else:
        x = nodes.add_node("ReduceSum", [x, nodes.add_constant(np.array([axis]), "axes")], keepdims=1)
    return nodes.add_cast(x, stage.given.dtype, dtype)


def _shape_weights(stage: PreStage) -> Array:
    """Return the weights in the shape that goes along the channels."""
    behind = len(stage.given.shape) - stage.axes[0] - 1
    return np.reshape(np.array(get_weights(stage.step), np.float64), (-1, *[1] * behind))


def _compute_swap(stage: PreStage, array: Array, _: bool) -> Array:
    return np.ascontiguousarray(np.flip(array, stage.axes[0]))


def _express_swap(stage: PreStage, nodes: Builder, x: str, _: bool) -> str:
    return nodes.add_node("Gather", [x, nodes.add_constant(np.array([2, 1, 0]), "order")], axis=stage.axes[0])


def _compute_crop(stage: PreStage, array: Array, _: bool) -> Array:
    assert stage.step.size
    cut: list[Any] = [slice(None)] * array.ndim
    for axis, size in zip(stage.axes, stage.step.size, strict=True):
        spare = array.shape[axis] - size
        # Half to even, as torchvision's CenterCrop, or down, as the classes of transformers.
        start = spare // 2 if stage.step.like == "transformers" else round(spare / 2)
        cut[axis] = slice(start, start + size)
    return np.ascontiguousarray(array[tuple(cut)])


def _express_crop(stage: PreStage, nodes: Builder, x: str, _: bool) -> str:
    assert stage.step.size
    size = nodes.add_constant(np.array(stage.step.size, np.int64), "size")
    two = nodes.add_constant(np.array([2], np.int64), "two")
    spare = nodes.add_node("Sub", [add_slice(nodes, nodes.add_node("Shape", [x]), stage.axes), size])
    if stage.step.like != "transformers":
        # Half of it, half to even: of whole numbers (n + (n / 2) mod 2) / 2.
        spare = nodes.add_node("Add", [spare, nodes.add_node("Mod", [nodes.add_node("Div", [spare, two]), two])])
    start = nodes.add_node("Div", [spare, two])
    end = nodes.add_node("Add", [start, size])
    axes = nodes.add_constant(np.array(stage.axes, np.int64), "axes")
    return nodes.add_node("Slice", [x, start, end, axes])


def _compute_resize(stage: PreStage, array: Array, antialias: bool) -> Array:
    assert stage.step.size
    return resize_array(array, stage.axes, stage.step.size, choose_kernel(stage.step, antialias))


def _express_resize(stage: PreStage, nodes: Builder, x: str, antialias: bool) -> str:
    kernel = choose_kernel(stage.step, antialias)
    x = nodes.add_cast(x, "float32", stage.given.dtype)
    if kernel == "area":
        x = add_area(stage, nodes, x)
    elif kernel.startswith("nearest"):
        x = add_nearest(stage, nodes, x, "float32" if kernel == "nearest_float32" else "float64")
    else:
        x = add_resize(stage, nodes, x, kernel.removesuffix("_antialias"), blurs=kernel in ANTIALIAS)
    return nodes.add_cast(x, stage.given.dtype, "float32")


PICTURES = {
    "grayscale": PictureOperation(_compute_grayscale, _express_grayscale),
    "swap": PictureOperation(_compute_swap, _express_swap),
    "crop": PictureOperation(_compute_crop, _express_crop),
    "resize": PictureOperation(_compute_resize, _express_resize),
}
"""The operations by their names in a spec."""
