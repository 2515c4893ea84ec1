"""Pictures of any size in a few bytes, all of one colour: what examples and warming send.

They are written here and not by a library, so that the same spec gives the same bytes on every machine.
"""

import math
import struct
import zlib
from collections.abc import Callable


def make_picture(form: str, height: int, width: int) -> bytes:
    """Return a picture of one colour as a file of the form ``png``, ``jpeg``, ``webp`` or ``bmp``."""
    return _WRITERS[form](height, width)


def _make_png(height: int, width: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(height * (1 + 3 * width)), 9)
    chunks = (b"IHDR" + head, b"IDAT" + rows, b"IEND")
    framed = (struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _make_jpeg(height: int, width: int) -> bytes:
    """Return a grey JPEG: with Huffman tables of one code each, a block of one colour takes two bits, both 0."""

    def mark(kind: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data

    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    one_code = bytes([1, *bytes(15), 0])
    bits = 2 * math.ceil(height / 8) * math.ceil(width / 8)
    scan = bytearray(math.ceil(bits / 8))
    scan[-1] |= (1 << (-bits % 8)) - 1  # the last byte is filled up with ones
    return b"".join((
        b"\xff\xd8", mark(0xDB, bytes([0, *[1] * 64])), mark(0xC0, frame),
        mark(0xC4, b"\x00" + one_code), mark(0xC4, b"\x10" + one_code), mark(0xDA, bytes([1, 1, 0, 0, 63, 0])),
        bytes(scan), b"\xff\xd9",
    ))  # fmt: skip


def _make_webp(height: int, width: int) -> bytes:
    """Return a lossless WebP: where each channel has one value, pixels take no bits."""
    one_symbol = 0b0001  # a simple code, of one symbol, of one bit: 0
    fields = [(0x2F, 8), (width - 1, 14), (height - 1, 14), (0, 1), (0, 3), (0, 1), (0, 1), (0, 1)]
    fields += [(one_symbol, 4)] * 5
    value = at = 0
    for number, length in fields:
        value |= number << at
        at += length
    data = value.to_bytes(math.ceil(at / 8), "little")
    data += bytes(len(data) % 2)
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def _make_bmp(height: int, width: int) -> bytes:
    row = math.ceil(width / 32) * 4  # a bit for each pixel
    palette = bytes([0, 0, 0, 0, 255, 255, 255, 0])
    start = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 1, 0, row * height, 0, 0, 2, 2)
    return struct.pack("<2sIHHI", b"BM", start + row * height, 0, 0, start) + info + palette + bytes(row * height)


_WRITERS: dict[str, Callable[[int, int], bytes]] = {
    "png": _make_png,
    "jpeg": _make_jpeg,
    "webp": _make_webp,
    "bmp": _make_bmp,
}
