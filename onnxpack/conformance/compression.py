"""Bodies that are compressed, and answers that a client would take compressed."""

import gzip
import json
import struct
import zlib
from collections.abc import Callable

from onnxpack.conformance.checks import FailedError, Level, NotOfferedError, check
from onnxpack.conformance.expect import require, require_error, require_refusal, require_same
from onnxpack.conformance.server import JSON, Server, read_outputs
from onnxpack.conformance.wire import MAX_BODY, Answer

_PIECE = b" " * 2**20
_PIECES = 128  # of a body that is an eighth of a megabyte when it is compressed
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_CODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def _send(server: Server, coding: str, body: bytes) -> Answer:
    return server.infer(body, headers=(*JSON, f"content-encoding: {coding}"))


def _require_offer(server: Server, coding: str) -> None:
    """Raise NotOfferedError if the server says that it does not take the coding."""
    body = _CODINGS[coding](json.dumps(server.sample.to_json()).encode())
    answer = _send(server, coding, body)
    if 400 <= answer.status < 500:
        raise NotOfferedError(f"the server answers {answer}")
    require_same(read_outputs(answer), server.outputs)


@check(
    "coding.gzip", "a body in gzip", Level.EXTENSION, "RFC 9110, 8.4; an error of the client's where it is not taken"
)
def check_gzip(server: Server) -> None:
    """Send a body in gzip."""
    _require_offer(server, "gzip")


@check(
    "coding.deflate",
    "a body in deflate",
    Level.EXTENSION,
    "RFC 9110, 8.4; an error of the client's where it is not taken",
)
def check_deflate(server: Server) -> None:
    """Send a body in deflate, which is zlib's format."""
    _require_offer(server, "deflate")


@check("coding.broken", "a compressed body that is broken", Level.ROBUSTNESS, "RFC 9110, 8.4")
def check_broken(server: Server) -> None:
    """Send gzip that ends in the middle, and what is no gzip: both are refused, whether or not gzip is offered."""
    whole = gzip.compress(json.dumps(server.sample.to_json()).encode())
    for body in (whole[:-12], b"{}"):
        require_refusal(_send(server, "gzip", body))


@check(
    "coding.bomb", "an eighth of a megabyte that becomes an eighth of a gigabyte", Level.ROBUSTNESS, "RFC 9110, 15.5.14"
)
def check_bomb(server: Server) -> None:
    """Send a body that grows a thousand times."""
    require_refusal(_send(server, "gzip", _make_bomb()))


def _make_bomb() -> bytes:
    """Return gzip of many equal pieces. Behind a full flush a piece stands for itself, so that one is compressed."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    piece = packer.compress(_PIECE) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(_PIECES):
        checksum = zlib.crc32(_PIECE, checksum)
    size = len(_PIECE) * _PIECES
    return _GZIP_HEAD + piece * _PIECES + packer.flush() + struct.pack("<II", checksum, size)


@check("coding.unknown", "a coding that there is not", Level.ROBUSTNESS, "RFC 9110, 15.5.16")
def check_unknown(server: Server) -> None:
    """Send a good body with a coding that nobody knows."""
    require_error(_send(server, "none-such", json.dumps(server.sample.to_json()).encode()))


@check("coding.answer", "an answer in gzip", Level.EXTENSION, "RFC 9110, 12.5.3")
def check_answer(server: Server) -> None:
    """Ask for gzip: an answer as it is will do, too."""
    headers = (*JSON, "accept-encoding: gzip")
    answer = server.infer(server.sample.to_json(), headers=headers)
    coding = answer.headers.get("content-encoding", "identity")
    if coding == "identity":
        require_same(read_outputs(answer), server.outputs)
        raise NotOfferedError("the server answers without a coding")
    require(coding == "gzip", f"gzip, not {coding!r}")
    try:
        body = zlib.decompressobj(wbits=31).decompress(answer.body, MAX_BODY)
    except zlib.error as error:
        raise FailedError(f"expected gzip: {error}") from error
    require_same(read_outputs(Answer(answer.status, {}, body)), server.outputs)


@check("coding.not-asked", "an answer as it is where nothing else was asked for", Level.ROBUSTNESS, "RFC 9110, 12.5.3")
def check_not_asked(server: Server) -> None:
    """Refuse all codings."""
    answer = server.infer(server.sample.to_json(), headers=(*JSON, "accept-encoding: identity"))
    require(answer.headers.get("content-encoding", "identity") == "identity", "an answer without a coding")
    require_same(read_outputs(answer), server.outputs)
