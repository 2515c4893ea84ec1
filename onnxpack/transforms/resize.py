"""Linear resizing of images in numpy, by the formulas of ONNX's Resize: half_pixel, with and without antialias."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def resize_array(array: Array, axes: tuple[int, ...], size: tuple[int, ...], antialias: bool) -> Array:
    """Resize an array's ``axes`` (height and width) to ``size``; round to float32 and then to the array's dtype.

    This goes image by image along axis 0, so that memory stays small; axis 0 is none of ``axes``.
    """
    matrices = [compute_weights(array.shape[axis], out, antialias) for axis, out in zip(axes, size, strict=True)]
    shape = list(array.shape)
    for axis, out in zip(axes, size, strict=True):
        shape[axis] = out
    result = np.empty(shape, array.dtype)
    for image, place in zip(array, result, strict=True):
        wide = image.astype(np.float64)
        for axis, matrix in zip(axes, matrices, strict=True):
            wide = np.moveaxis(np.moveaxis(wide, axis - 1, -1) @ matrix.T, -1, axis - 1)
        place[...] = wide.astype(np.float32)  # the ONNX node computes in float32, and a cast follows it
    return result


def compute_weights(size: int, out: int, antialias: bool) -> Array:
    """Return the weight of each of ``size`` old pixels in each of ``out`` new ones: [out, size], rows sum to 1.

    New pixel i is at ``(i + ½) · size / out - ½`` of the old ones (half_pixel); a triangle filter around it weighs its
    neighbours. For a smaller result antialias makes the triangle wider by the same ratio, and cuts it at the border.
    """
    ratio = size / out
    centres = (np.arange(out) + 0.5) * ratio - 0.5
    width = max(ratio, 1.0) if antialias else 1.0
    if not antialias:
        centres = centres.clip(0, size - 1)  # what lies outside is the border itself
    tent = np.maximum(0.0, 1 - np.abs(np.arange(size) - centres[:, None]) / width)
    rows: Array = tent / tent.sum(axis=1, keepdims=True)
    return rows
