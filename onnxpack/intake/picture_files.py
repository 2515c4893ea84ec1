"""Files of pictures of all kinds, good and bad, the same on every machine: what the module's code is tried with."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpack.intake.picture_reference import require_module

SIZES = ((1, 1), (1, 7), (7, 1), (2, 3), (17, 31), (100, 140), (333, 77), (480, 641), (448, 448))
"""Heights and widths: odd ones, tiny ones, long ones, and a whole multiple of usual sizes."""
_LARGE = (2000, 3000)
_MIDDLE = (45, 60)
_HUGE = 60_000
"""The height and width that a bomb declares."""
_ORIENTATION = 0x112


@dataclass(frozen=True)
class PictureFile:
    """A picture's file, its format, and what is special about it."""

    kind: str
    form: str
    data: bytes


def make_good_files(formats: tuple[str, ...]) -> Iterator[PictureFile]:
    """Make pictures of these formats that are right, each of another kind."""
    draw = _Drawing(np.random.default_rng(0))
    makers: dict[str, Callable[[_Drawing], Iterator[PictureFile]]] = {
        "jpeg": _make_jpegs, "png": _make_pngs, "webp": _make_webps, "bmp": _make_bmps,
    }  # fmt: skip
    for form in formats:
        for height, width in SIZES:
            data = draw.save(draw.noise(height, width), form)
            yield PictureFile(f"{form} of {height} x {width}", form, data)
        yield from makers[form](draw)


def make_bad_files(formats: tuple[str, ...]) -> Iterator[PictureFile]:
    """Make files that must be refused: cut off, of other formats, or bombs."""
    draw = _Drawing(np.random.default_rng(1))
    yield PictureFile("empty file", "", b"")
    yield PictureFile("text", "", b"this is no picture")
    for form in ("GIF", "TIFF", *(form for form in ("jpeg", "png", "webp", "bmp") if form not in formats)):
        yield PictureFile(f"{form}, which is not declared", form, draw.save(draw.noise(*_MIDDLE), form))
    for form in formats:
        whole = draw.save(draw.noise(*_MIDDLE), form)
        yield PictureFile(f"{form} cut off in the middle", form, whole[: len(whole) // 2])
        yield PictureFile(f"{form} cut off in its header", form, whole[:20])
        yield PictureFile(f"{form} that declares {_HUGE} x {_HUGE}", form, _declare(form, whole))
    if "png" in formats:
        bomb = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26), 9))
        data = draw.save(draw.noise(*_MIDDLE), "png")
        yield PictureFile("png with a bomb for a text", "png", data[:33] + bomb + data[33:])


class _Drawing:
    """What draws pictures and saves them."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.image = require_module("PIL.Image")

    def noise(self, height: int, width: int, mode: str = "RGB") -> Any:
        """Draw noise over a gradient, which shows rounding, in one of Pillow's modes."""
        rows, columns = np.mgrid[:height, :width]
        base = (rows * 5 + columns * 3)[..., None] + np.array([0, 80, 160, 40])
        pixels = (base + self.random.integers(0, 128, (height, width, 4))) % 256
        picture = self.image.fromarray(pixels.astype(np.uint8), "RGBA")
        if mode == "I;16":
            wide: NDArray[np.uint16] = (pixels[..., 0] * 3).astype(np.uint16)
            return self.image.fromarray(wide)
        if mode == "P":
            return picture.convert("RGB").quantize(64)
        return picture.convert(mode)

    def save(self, picture: Any, form: str, **options: Any) -> bytes:
        """Save a picture as a file of a format."""
        stream = io.BytesIO()
        picture.save(stream, form.upper(), **options)
        return stream.getvalue()

    def turn(self, form: str, **options: Any) -> Iterator[PictureFile]:
        """Make a picture of each orientation that EXIF knows."""
        for orientation in range(1, 9):
            exif = self.image.Exif()
            exif[_ORIENTATION] = orientation
            data = self.save(self.noise(*_MIDDLE), form, exif=exif, **options)
            yield PictureFile(f"{form} with orientation {orientation}", form, data)


def _make_jpegs(draw: _Drawing) -> Iterator[PictureFile]:
    yield from draw.turn("jpeg", quality=95)
    for mode in ("L", "CMYK"):
        yield PictureFile(f"jpeg of mode {mode}", "jpeg", draw.save(draw.noise(*_MIDDLE, mode), "jpeg"))
    options: dict[str, dict[str, Any]] = {
        "progressive": {"progressive": True},
        "without subsampling": {"subsampling": 0},
        "of low quality": {"quality": 10},
    }
    for kind, more in options.items():
        yield PictureFile(f"jpeg {kind}", "jpeg", draw.save(draw.noise(*_MIDDLE), "jpeg", **more))
    large = draw.noise(*_MIDDLE).resize(_LARGE[::-1])
    yield PictureFile("large jpeg", "jpeg", draw.save(large, "jpeg"))


def _make_pngs(draw: _Drawing) -> Iterator[PictureFile]:
    yield from draw.turn("png")
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield PictureFile(f"png of mode {mode}", "png", draw.save(draw.noise(*_MIDDLE, mode), "png"))
    yield PictureFile(
        "png with a transparent colour", "png", draw.save(draw.noise(*_MIDDLE, "P"), "png", transparency=3)
    )
    grey = draw.save(draw.noise(*_MIDDLE, "L"), "png", transparency=100)
    yield PictureFile("grey png with a transparent grey", "png", grey)
    pixels = np.asarray(draw.noise(*_MIDDLE))
    yield PictureFile("interlaced png", "png", _write_interlaced(pixels))
    yield PictureFile("png of 16 bits a channel", "png", _write_deep(pixels))
    yield PictureFile("large png", "png", draw.save(draw.image.new("RGB", _LARGE[::-1], (1, 200, 90)), "png"))


def _make_webps(draw: _Drawing) -> Iterator[PictureFile]:
    yield from draw.turn("webp", lossless=True)
    kinds = (("lossy", "RGB", False), ("with alpha", "RGBA", False), ("lossless with alpha", "RGBA", True))
    for kind, mode, lossless in kinds:
        yield PictureFile(f"webp {kind}", "webp", draw.save(draw.noise(*_MIDDLE, mode), "webp", lossless=lossless))
    frames = [draw.noise(*_MIDDLE) for _ in range(3)]
    data = draw.save(frames[0], "webp", save_all=True, append_images=frames[1:], lossless=True)
    yield PictureFile("webp of three frames", "webp", data)


def _make_bmps(draw: _Drawing) -> Iterator[PictureFile]:
    for mode in ("1", "L", "P", "RGBA"):
        yield PictureFile(f"bmp of mode {mode}", "bmp", draw.save(draw.noise(*_MIDDLE, mode), "bmp"))
    pixels = np.asarray(draw.noise(5, 4))[:, :, ::-1]
    head = struct.pack("<IiiHHIIiiII", 40, 4, -5, 1, 24, 0, pixels.size, 0, 0, 0, 0)
    start = struct.pack("<2sIHHI", b"BM", 54 + pixels.size, 0, 0, 54)
    yield PictureFile("bmp from top to bottom", "bmp", start + head + pixels.tobytes())
    runs = bytes([60, 1, 0, 0] * 44 + [60, 2, 0, 1])
    palette = bytes(range(256)) * 4
    head = struct.pack("<IiiHHIIiiII", 40, 60, 45, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = struct.pack("<2sIHHI", b"BM", 1078 + len(runs), 0, 0, 1078)
    yield PictureFile("bmp of runs", "bmp", start + head + palette + runs)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _write_png(size: tuple[int, int], depth: int, interlace: int, rows: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", size[1], size[0], depth, 2, 0, 0, interlace)
    chunks = (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _write_interlaced(pixels: NDArray[np.uint8]) -> bytes:
    """Write a PNG in Adam7's seven passes, which Pillow reads and does not write."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [pixels[top::down, left::across] for top, left, down, across in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part if row.size)
    return _write_png((pixels.shape[0], pixels.shape[1]), 8, 1, rows)


def _write_deep(pixels: NDArray[np.uint8]) -> bytes:
    deep = (pixels.astype(">u2") * 257) ^ 5
    return _write_png((pixels.shape[0], pixels.shape[1]), 16, 0, b"".join(b"\0" + row.tobytes() for row in deep))


def _declare(form: str, data: bytes) -> bytes:
    """Let a picture's header declare that it is huge."""
    if form == "png":
        head = struct.pack(">II", _HUGE, _HUGE) + data[24:29]
        return data[:8] + _chunk(b"IHDR", head) + data[33:]
    if form == "bmp":
        return data[:18] + struct.pack("<ii", _HUGE, _HUGE) + data[26:]
    if form == "webp":  # 14 bits for each side, at most
        canvas = b"\0\0\0\0" + (16_383).to_bytes(3, "little") * 2
        body = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas + data[12:]
        return b"RIFF" + struct.pack("<I", len(body)) + body
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", _HUGE, _HUGE) + data[at + 4 :]
