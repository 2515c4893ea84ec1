"""The pictures of iris, decoded and resized by Pillow."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZES = {  # height and width behind the steps; None keeps a picture's own
    "image": (4, 6),
}


def read_pictures(name: str, files: Sequence[bytes]) -> NDArray[Any]:
    """Decode pictures of one input, which get one size."""
    size = SIZES[name]
    arrays = [read_picture(f"input {name!r}, picture {row}", data, size) for row, data in enumerate(files)]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"input {name!r}: the pictures of a request must have one size")
    return np.stack(arrays)


def read_picture(where: str, data: bytes, size: tuple[int, int] | None) -> NDArray[Any]:
    """Decode one picture."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            pixels = picture.convert("RGB")
    except Exception as error:  # a damaged picture fails in many ways
        raise ValueError(f"{where}: no picture that can be read: {' '.join(str(error).split())}") from error
    if size:
        pixels = pixels.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(pixels)
