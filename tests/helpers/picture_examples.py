"""Intakes of pictures with all kinds of steps, and the modules that are rendered for them."""

import io
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from onnxpack.bundle import templates
from onnxpack.bundle.pictures import PictureView
from onnxpack.core.values import TensorInfo
from onnxpack.intake.pictures import load_modules
from onnxpack.spec.intakes import Intake
from onnxpack.spec.steps import PreprocessStep

FORMATS = ("jpeg", "png", "webp", "bmp")
WAYS = tuple(
    (like, method)
    for like in ("pillow", "opencv", "torchvision")
    for method in ("nearest", "linear", "cubic", "area", "lanczos")
    if like != "torchvision" or method not in ("area", "lanczos")
)
"""Each library with the methods that it has."""


def make_intake(
    *steps: dict[str, Any],
    name: str = "image",
    shape: tuple[int | str, ...] = (32, 40, 3),
    dtype: str = "uint8",
    **decode: Any,
) -> Intake:
    """Return the intake of an input whose ONNX file takes ``shape`` behind ``decode`` and some steps."""
    chain = (PreprocessStep("decode", name, **decode), *(PreprocessStep(input=name, **step) for step in steps))
    taken = (TensorInfo(name, "bytes", ("batch",)),)
    return Intake("picture", chain, taken, (TensorInfo(name, dtype, ("batch", *shape)),))


def render_pictures(*intakes: Intake) -> dict[str, str]:
    """Return the texts of the modules that read pictures, by file name."""
    view = SimpleNamespace(pictures=tuple(map(PictureView.of, intakes)))
    names = ["pictures.py", *(["resampling.py"] if any(one.functions for one in view.pictures) else [])]
    return {name: templates.render(name, view=view) for name in names}


def load_reader(*intakes: Intake) -> Callable[[str, Sequence[bytes]], NDArray[Any]]:
    """Return the function ``read_pictures`` that is rendered for some intakes."""
    read: Callable[[str, Sequence[bytes]], NDArray[Any]]
    read = load_modules(render_pictures(*intakes))["pictures.py"].read_pictures
    return read


def encode(pixels: NDArray[Any], form: str = "png", **options: Any) -> bytes:
    """Return pixels as a picture's file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form.upper(), **options)
    return stream.getvalue()
