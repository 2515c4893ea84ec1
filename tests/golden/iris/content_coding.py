"""HTTP's content codings, gzip and deflate: requests are inflated, and answers compressed for who asks.

A body of a megabyte can become a gigabyte. So nothing here makes more than it is allowed to, whatever a
body says about itself.
"""

import threading
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

SMALL = 16 * 2**10  # bytes of a body, before and after, that is inflated in the event loop
RATIO = 1032  # bytes that deflate makes of one at most
PIECE = 16 * 2**10  # bytes inflated at a time: what a call leaves over, zlib copies
GROWTH = 256 * 2**10  # bytes that a piece is inflated to in one call
MAX_MEMBERS = 4096  # of one gzip body: each takes some microseconds, however small it is
LEAST = 2**10  # bytes of an answer from which compressing is worth it
LEVEL = 1  # of zlib: five times as quick as its usual 6, and a tenth larger
MAX_HEADER = 1000  # bytes of an Accept-Encoding that is read

NAMES = {b"gzip": b"gzip", b"x-gzip": b"gzip", b"deflate": b"deflate"}
GZIP = 16 + zlib.MAX_WBITS  # zlib's word for gzip's format

Result = TypeVar("Result")
_one_at_a_time = threading.Lock()  # so that the memory of large inflated bodies does not add up


class TooLargeError(ValueError):
    """A body that inflates to more than is allowed."""


def find_coding(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return the coding of a request's body: empty for none, None if it is not served."""
    word = headers[b"content-encoding"].strip().lower()
    return b"" if word in (b"", b"identity") else NAMES.get(word)


def inflate_small(body: bytes | bytearray, coding: bytes) -> bytes | None:
    """Inflate a body if that is quick, or return None: because it is large, odd, or wrong."""
    if len(body) > SMALL:
        return None
    inflater = make_inflater(body, coding)
    try:
        plain = inflater.decompress(body, SMALL)
    except zlib.error:
        return None
    return plain if inflater.eof and not inflater.unused_data else None


def use_inflated(
    body: bytes | bytearray, coding: bytes, limit: int, use: Callable[[bytearray], Result]
) -> Result:
    """Inflate a body and use it, while no other thread does that; ValueError if it is wrong."""
    with _one_at_a_time:
        return use(inflate(body, coding, limit))


def inflate(body: bytes | bytearray, coding: bytes, limit: int) -> bytearray:
    """Inflate a whole body, which may be several of gzip's members; stop when it is larger than the limit."""
    plain = bytearray()
    members = 1
    inflater = make_inflater(body, coding)
    for start in range(0, len(body), PIECE):
        piece = bytes(body[start : start + PIECE])
        while piece:
            if inflater.eof:
                members += 1
                if coding != b"gzip" or members > MAX_MEMBERS:
                    raise ValueError(f"the body goes on behind the end of its {coding.decode()}")
                inflater = zlib.decompressobj(GZIP)
            try:
                plain += inflater.decompress(piece, GROWTH)
            except zlib.error as error:
                raise ValueError(f"the body is not {coding.decode()}: {error}") from None
            if len(plain) > limit:
                raise TooLargeError
            piece = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    if not inflater.eof:
        raise ValueError(f"the body's {coding.decode()} does not end")
    return plain


def make_inflater(body: bytes | bytearray, coding: bytes) -> "zlib._Decompress":
    """Make what inflates a body. As deflate, clients send zlib's format, and some what is inside it."""
    if coding == b"gzip":
        return zlib.decompressobj(GZIP)
    # The two bytes of zlib's header; the third of the first byte's bits would have to be 0 in deflate itself.
    has_header = len(body) > 1 and body[0] & 0xF == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


@lru_cache(maxsize=64)  # most clients send the same
def choose_coding(header: bytes) -> bytes:
    """Return the coding that an Accept-Encoding asks for, or empty."""
    if len(header) > MAX_HEADER:
        return b""
    wishes: dict[bytes, float] = {}
    for item in header.lower().split(b","):
        name, *parameters = (part.strip() for part in item.split(b";"))
        weight = next((part[2:] for part in parameters if part.startswith(b"q=")), b"1")
        try:
            wishes[NAMES.get(name, name)] = float(weight)
        except ValueError:  # not as HTTP has it: then it asks for nothing
            continue
    usual = wishes.get(b"*", 0.0)
    best = max((b"gzip", b"deflate"), key=lambda name: wishes.get(name, usual))
    quality = wishes.get(best, usual)
    return best if 0 < quality <= 1 and quality >= wishes.get(b"identity", 0.0) else b""


def compress(body: bytes, coding: bytes) -> bytes:
    """Compress an answer."""
    compressor = zlib.compressobj(LEVEL, wbits=GZIP if coding == b"gzip" else zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()
