"""What a picture becomes by the training libraries themselves, to compare the module's own code with."""

import io
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpack.core.errors import SourceError
from onnxpack.spec.intakes import Intake
from onnxpack.spec.steps import PreprocessStep

Pixels = NDArray[Any]
"""An array [height, width, channels] of uint8 or float32."""

_OPERATORS = ("nms", "qnms", "roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")
"""What torchvision's compiled part registers, each with its gradient."""
_RESAMPLING = {"nearest": "NEAREST", "linear": "BILINEAR", "cubic": "BICUBIC", "area": "BOX", "lanczos": "LANCZOS"}
_INTER = {
    "nearest": "INTER_NEAREST", "linear": "INTER_LINEAR", "cubic": "INTER_CUBIC", "area": "INTER_AREA",
    "lanczos": "INTER_LANCZOS4",
}  # fmt: skip
MOST_PIXELS = 4_194_304
"""The most pixels of a narrow picture that keeps its proportion: the module refuses more."""
Resize = Callable[[Pixels, int, int, str], Pixels]


class TooNarrowError(Exception):
    """A picture whose shorter side cannot be made as large as asked without making it huge."""


def read_reference(intake: Intake, file: bytes) -> Pixels:
    """Read a picture by the libraries that the steps name, as training code does."""
    rest = intake.steps[1:]
    picture = require_module("PIL.Image").open(io.BytesIO(file))
    picture.load()
    if rest and rest[0].op == "orient":
        picture = require_module("PIL.ImageOps").exif_transpose(picture)
    pixels = _to_array(picture.convert("RGB"))
    for step in rest:
        if step.op == "swap":
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        elif step.op == "grayscale":
            pixels = _make_grey(step, pixels)
        elif step.op == "resize":
            pixels = _resize(step, pixels)
        elif step.op == "crop":
            pixels = _crop(pixels, *(step.size or ()), down=step.like == "transformers")
    return pixels.astype(intake.given[0].dtype)


def count_pixels(file: bytes) -> int:
    """Return how many pixels a picture declares."""
    width, height = require_module("PIL.Image").open(io.BytesIO(file)).size
    return int(width * height)


def require_module(name: str) -> Any:
    """Import a module of the extra ``pictures``."""
    try:
        return import_torchvision(name) if name.startswith("torchvision") else import_module(name)
    except ImportError as error:
        package = {"PIL": "Pillow", "cv2": "OpenCV"}.get(name.partition(".")[0], name.partition(".")[0])
        message = f"the steps of a picture are compared with {package}, which cannot be imported: {error}"
        raise SourceError(message, "run `pip install 'onnxpack[pictures]'`") from error


@cache
def import_torchvision(name: str) -> Any:
    """Import a module of torchvision, also where its compiled part was built for another torch.

    The import only looks operators up, so that a name without an implementation is enough; pictures need none of them.
    """
    try:
        return import_module(name)
    except RuntimeError:
        library = import_module("torch").library
        for operator in _OPERATORS:
            for defined in (operator, f"_{operator}_backward"):
                library.define(f"torchvision::{defined}", "(Tensor a, Tensor b, float c) -> Tensor")
        return import_module(name)


def _to_array(picture: Any) -> Pixels:
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _to_picture(pixels: Pixels) -> Any:
    return require_module("PIL.Image").fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _to_tensor(pixels: Pixels) -> Any:
    return require_module("torch").from_numpy(np.array(pixels.transpose(2, 0, 1)))


def _make_grey(step: PreprocessStep, pixels: Pixels) -> Pixels:
    if step.weights:
        mixed: Pixels = np.asarray(pixels.astype(np.float64) @ np.array(step.weights))
        return mixed.astype(np.float32)[..., None]
    if step.like == "opencv":
        cv2 = require_module("cv2")
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[..., None]
    if step.like == "torchvision":
        functional = require_module("torchvision.transforms.v2.functional")
        return np.asarray(functional.rgb_to_grayscale(_to_tensor(pixels)).numpy()).transpose(1, 2, 0)
    return _to_array(_to_picture(pixels).convert("L"))


def _resize(step: PreprocessStep, pixels: Pixels) -> Pixels:
    method, size = step.method or "linear", step.size or ()
    like = step.like or "pillow"
    if like == "pillow" and len(size) == 2 and step.fit in ("cover", "contain"):
        return _fit_by_pillow(step, pixels)
    by = {"pillow": _resize_by_pillow, "opencv": _resize_by_opencv, "torchvision": _resize_by_torchvision}[like]
    height, width = pixels.shape[:2]
    if len(size) == 1:
        # The rule of torchvision's Resize(n), which reads: int(size * long / short).
        shorter, longer = size[0], int(size[0] * max(height, width) / min(height, width))
        _check_result(shorter, longer)
        return by(pixels, *((shorter, longer) if height <= width else (longer, shorter)), method)
    if step.fit == "cover":
        scale = max(size[0] / height, size[1] / width)
        made = (max(size[0], int(height * scale + 1e-9)), max(size[1], int(width * scale + 1e-9)))
        _check_result(*made)
        return _crop(by(pixels, *made, method), *size)
    if step.fit == "contain":
        return _letterbox(step, pixels, by, method)
    return by(pixels, size[0], size[1], method)


def _check_result(height: int, width: int) -> None:
    if height * width > MOST_PIXELS and max(height, width) > 4 * min(height, width):
        raise TooNarrowError


def _letterbox(step: PreprocessStep, pixels: Pixels, by: Resize, method: str) -> Pixels:
    """Fill up as detectors that are trained with OpenCV do: half of the border on each side, the odd line behind."""
    rows, columns = step.size or ()
    scale = min(rows / pixels.shape[0], columns / pixels.shape[1])
    small = by(pixels, max(1, round(pixels.shape[0] * scale)), max(1, round(pixels.shape[1] * scale)), method)
    pad = step.pad or (0,)
    result = np.empty((rows, columns, pixels.shape[2]), pixels.dtype)
    result[:] = pad
    top, left = (rows - small.shape[0]) // 2, (columns - small.shape[1]) // 2
    result[top : top + small.shape[0], left : left + small.shape[1]] = small
    return result


def _fit_by_pillow(step: PreprocessStep, pixels: Pixels) -> Pixels:
    operations, image = require_module("PIL.ImageOps"), require_module("PIL.Image")
    height, width = step.size or ()
    resampling = getattr(image.Resampling, _RESAMPLING[step.method or "linear"])
    picture = _to_picture(pixels)
    if step.fit == "cover":
        return _to_array(operations.fit(picture, (width, height), resampling))
    pad = step.pad or (0,)
    colour = pad * 3 if len(pad) == 1 and pixels.shape[2] == 3 else pad
    return _to_array(operations.pad(picture, (width, height), resampling, colour if len(colour) > 1 else colour[0]))


def _resize_by_pillow(pixels: Pixels, height: int, width: int, method: str) -> Pixels:
    resampling = getattr(require_module("PIL.Image").Resampling, _RESAMPLING[method])
    return _to_array(_to_picture(pixels).resize((width, height), resampling))


def _resize_by_opencv(pixels: Pixels, height: int, width: int, method: str) -> Pixels:
    cv2 = require_module("cv2")
    resized = np.asarray(cv2.resize(pixels, (width, height), interpolation=getattr(cv2, _INTER[method])))
    return resized.reshape(height, width, -1)


def _resize_by_torchvision(pixels: Pixels, height: int, width: int, method: str) -> Pixels:
    """Resize a tensor of bytes by the second version of the transforms, antialiased, which is their default."""
    functional = require_module("torchvision.transforms.v2.functional")
    mode = getattr(require_module("torchvision.transforms").InterpolationMode, _RESAMPLING[method])
    resized = functional.resize(_to_tensor(pixels), [height, width], interpolation=mode, antialias=True)
    return np.asarray(resized.numpy()).transpose(1, 2, 0)


def _crop(pixels: Pixels, height: int, width: int, *, down: bool = False) -> Pixels:
    """Crop by torchvision's rule, or by transformers', written down again for pictures that no tensor is needed for."""
    missing_rows, missing_columns = max(0, height - pixels.shape[0]), max(0, width - pixels.shape[1])
    if missing_rows or missing_columns:
        rows = (missing_rows // 2, (missing_rows + 1) // 2)
        columns = (missing_columns // 2, (missing_columns + 1) // 2)
        pixels = np.pad(pixels, (rows, columns, (0, 0)))
    half = (lambda spare: int(spare / 2.0)) if down else (lambda spare: round(spare / 2.0))
    top, left = half(pixels.shape[0] - height), half(pixels.shape[1] - width)
    return pixels[top : top + height, left : left + width]
