"""Pictures from the bytes of their files: decoded by Pillow, and changed into what the ONNX file takes.

What is wrong with a picture is a ValueError whose message is for the sender. Any number of threads may read
pictures at the same time.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL.PngImagePlugin
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

MAX_SIDE = 2**16 - 1  # of a picture that is decoded

warnings.filterwarnings("ignore", module=r"PIL\.")  # of a picture's metadata, which nobody reads


def read_pictures(name: str, files: Sequence[bytes]) -> Array:
    """Read the pictures of an input as one array [pictures, height, width, channels]."""
    read, shape, dtype = INPUTS[name]
    result: Array = np.empty(shape, dtype)
    for index, file in enumerate(files):
        try:
            pixels = read(file)
            if index == 0:
                result = np.empty((len(files), *pixels.shape), dtype)
            elif pixels.shape != result.shape[1:]:
                first, this = (f"{width} x {height}" for height, width, _ in (result.shape[1:], pixels.shape))
                raise ValueError(f"it is {this}, and picture 0 is {first}; all must have one size")
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"input {name!r}, picture {index}: {reason}") from error
        result[index] = pixels
    return result


def read_1(file: bytes) -> Array:
    """Read a picture of "image"."""
    picture = decode(file, ("png",), 32_000_000)
    picture = to_rgb(picture)
    picture = picture.resize((6, 4), Image.Resampling.BILINEAR)
    return to_array(picture)


class Input(NamedTuple):
    """What reads a picture, and the shape and dtype of an array of none."""

    read: Callable[[bytes], Array]
    shape: tuple[int, ...]
    dtype: type[np.generic]


INPUTS = {
    "image": Input(read_1, (0, 4, 6, 3), np.uint8),
}


def decode(file: bytes, formats: tuple[str, ...], max_pixels: int) -> Image.Image:
    """Decode a picture, or the first of many frames; one that is too large or cut off is refused."""
    name = identify(file)
    if name not in formats:
        raise ValueError(f"it must be a picture in the format {' or '.join(formats)}")
    try:
        picture = OPENERS[name](io.BytesIO(file))
        check_size(picture.size, max_pixels)
        picture.load()
    except ValueError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds, SyntaxError and struct.error too
        raise ValueError(f"it cannot be decoded: {error}") from error
    return picture


def identify(file: bytes) -> str:
    """Tell a file's format by its first bytes; an unknown one is empty."""
    if file.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    return ""


# What reads the header of each format: the plugins themselves, so that Pillow tries no other ones.
OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "png": PIL.PngImagePlugin.PngImageFile,
}


def check_size(size: tuple[int, int], most: int) -> None:
    """Raise ValueError unless a picture of this width and height may be decoded."""
    width, height = size
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= most):
        limits = f"at most {most:,} are taken, and {MAX_SIDE:,} in a row or column"
        raise ValueError(f"it declares {width} x {height} pixels; {limits}")


def to_rgb(picture: Image.Image) -> Image.Image:
    """Convert a picture to RGB as Pillow does, without a copy of one that is RGB."""
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def to_array(picture: Image.Image) -> Array:
    """Make an array [height, width, channels] of a picture."""
    return np.atleast_3d(np.asarray(picture))
