"""Resizing of images in numpy, by the formulas of ONNX's Resize and of libraries: a matrix for each of two axes."""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
TINY = 1e-3
"""OpenCV leaves out shares of a pixel up to this when it computes means of areas."""


def resize_array(array: Array, axes: tuple[int, ...], size: tuple[int, ...], kernel: str) -> Array:
    """Resize an array's ``axes`` (height and width) to ``size``; round to float32 and then to the array's dtype.

    This goes image by image along axis 0, so that memory stays small; axis 0 is none of ``axes``.
    """
    matrices = [compute_weights(array.shape[axis], out, kernel) for axis, out in zip(axes, size, strict=True)]
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


def compute_weights(size: int, out: int, kernel: str) -> Array:
    """Return the weight of each of ``size`` old pixels in each of ``out`` new ones: [out, size], rows sum to 1."""
    return _KERNELS[kernel](size, out)


def _weigh_linear(size: int, out: int) -> Array:
    """Weigh the two neighbours of ``(i + ½) · size / out - ½`` (half_pixel); what lies outside is the border itself."""
    return _weigh((_locate_centres(size, out).clip(0, size - 1), size), 1.0, _shape_triangle)


def _weigh_linear_antialias(size: int, out: int) -> Array:
    """Weigh by a triangle, wider by the same ratio where the result is smaller, and cut at the border."""
    return _weigh((_locate_centres(size, out), size), max(size / out, 1.0), _shape_triangle)


def _weigh_cubic_antialias(size: int, out: int) -> Array:
    """Weigh by Keys' cubic of a = -½, wider by the same ratio where the result is smaller, and cut at the border."""
    return _weigh((_locate_centres(size, out), size), max(size / out, 1.0), _shape_cubic)


def _locate_centres(size: int, out: int) -> Array:
    centres: Array = (np.arange(out) + 0.5) * (size / out) - 0.5
    return centres


def _weigh(places: tuple[Array, int], width: float, shape: Callable[[Array], Array]) -> Array:
    centres, size = places
    raw = shape(np.abs(np.arange(size) - centres[:, None]) / width)
    rows: Array = raw / raw.sum(axis=1, keepdims=True)
    return rows


def _shape_triangle(distance: Array) -> Array:
    result: Array = np.maximum(0.0, 1 - distance)
    return result


def _shape_cubic(distance: Array) -> Array:
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


def _weigh_nearest(size: int, out: int) -> Array:
    """Take the pixel ``⌊i · size / out⌋``, with the roundings of OpenCV: a reciprocal of float64."""
    return _pick(np.floor(np.arange(out) * (1 / (out / size))), size)


def _weigh_nearest_float32(size: int, out: int) -> Array:
    """Take the pixel ``⌊i · size / out⌋``, with the roundings of PyTorch: a quotient of float32."""
    return _pick(np.floor(np.arange(out, dtype=np.float32) * (np.float32(size) / np.float32(out))), size)


def _pick(places: Array, size: int) -> Array:
    rows: Array = np.minimum(places, size - 1)[:, None] == np.arange(size)
    return rows.astype(np.float64)


def _weigh_area(size: int, out: int) -> Array:
    """Take the mean of the old pixels that a new one covers, with OpenCV's roundings; the result is never larger."""
    ratio = size / out
    start, old = np.arange(out)[:, None] * ratio, np.arange(size)
    shares = np.minimum(start + ratio, old + 1) - np.maximum(start, old)
    rows: Array = np.where(shares > TINY, shares, 0.0) / np.minimum(ratio, size - start)
    return rows


_KERNELS: dict[str, Callable[[int, int], Array]] = {
    "linear": _weigh_linear,
    "linear_antialias": _weigh_linear_antialias,
    "cubic_antialias": _weigh_cubic_antialias,
    "nearest": _weigh_nearest,
    "nearest_float32": _weigh_nearest_float32,
    "area": _weigh_area,
}
