"""Layers are compressed to the same bytes everywhere, and read whatever tool compressed them."""

import gzip
import hashlib
import io
import random

import pytest
import zstandard

from onnxpack.core.errors import EngineError
from onnxpack.oci import COMPRESSIONS, GZIP, ZSTD, compression
from onnxpack.oci.compression import decompress, describe, make_compressor

DATA = bytes(random.Random(7).choices(b"abcdefgh", k=300_000))


def compress(kind: str, *pieces: bytes) -> bytes:
    out = bytearray()
    compressor = make_compressor(kind, out.extend)
    for piece in pieces:
        assert compressor.write(piece) == len(piece)
    compressor.finish()
    return bytes(out)


@pytest.mark.parametrize("kind", COMPRESSIONS)
@pytest.mark.parametrize("data", [b"", b"a", DATA])
def test_what_is_compressed_is_read_as_it_was(kind: str, data: bytes) -> None:
    assert b"".join(decompress(io.BytesIO(compress(kind, data)))) == data


def test_other_tools_read_it() -> None:
    assert gzip.decompress(compress(GZIP, DATA)) == DATA
    assert zstandard.ZstdDecompressor().decompressobj().decompress(compress(ZSTD, DATA)) == DATA


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_the_pieces_in_which_it_came_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_MEMBER", 70_000)
    whole = compress(kind, DATA)
    assert whole == compress(kind, *(DATA[place : place + 999] for place in range(0, len(DATA), 999)))
    assert b"".join(decompress(io.BytesIO(whole))) == DATA


@pytest.mark.case("R2")
def test_the_bytes_are_those_of_the_packages_and_not_of_the_machine() -> None:
    """A digest that changes here changes that of every image: the versions in ``describe`` must change with it."""
    known = {
        "gzip-6-deflate-0.9.0": "d32ed54cede4d2ba5a27527fc4db4cfd2f4e58188a429642d85cc904a3525c99",
        "zstd-10-zstandard-0.25.0": "94a629073f87ae6859caf75eaa6eeb6fb35c77c476834ccca0410ca426eaf9f7",
    }
    assert {describe(kind): hashlib.sha256(compress(kind, DATA)).hexdigest() for kind in COMPRESSIONS} == known


def test_what_other_tools_compressed_is_read() -> None:
    frames = zstandard.ZstdCompressor().compress(DATA[:1000]) + zstandard.ZstdCompressor().compress(DATA[1000:])
    for data in (gzip.compress(DATA), gzip.compress(DATA[:9]) + gzip.compress(DATA[9:]), frames, DATA):
        assert b"".join(decompress(io.BytesIO(data))) == DATA


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_damage_is_a_typed_error(kind: str) -> None:
    whole = bytearray(compress(kind, DATA))
    whole[len(whole) // 2] ^= 255
    for data in (bytes(whole), *([compress(kind, DATA)[:-9]] if kind == GZIP else [])):
        with pytest.raises(EngineError, match="a layer cannot be decompressed"):
            list(decompress(io.BytesIO(data)))
