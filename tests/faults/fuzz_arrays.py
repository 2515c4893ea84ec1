"""Archives of arrays: samples, data by rows, and what stages hand on. Heads that lie, bombs, pickles."""

import io
import random
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from exporting import write_spec
from fuzz_tools import Kind, mutate

from onnxpack.data.datasets import open_dataset
from onnxpack.data.npz import read_arrays
from onnxpack.data.test_inputs import read_samples
from onnxpack.spec.load import SpecFile

_ROWS = 8
_METHODS = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_STORED,
    zipfile.ZIP_BZIP2,
    zipfile.ZIP_LZMA,
)
_DTYPES = (
    "<f4", "<f4", ">f4", "<i8", "<f8", "|b1", "<U3", "<U0", "|S0", "|O", "|V4", "<M8[s]", "<f16", "<c8", "<U99999999",
    "x", "[('a','<f4')]", "<f4,<f4",
)  # fmt: skip
_SHAPES = (
    (_ROWS, 4), (_ROWS, 4), (_ROWS, 4), (_ROWS,), (), (0, 4), (_ROWS, 0), (2**60, 4), (2**62, 0), (4, 2**62), (-1, 4),
    (2**31, 2**31), (2**40,), (1,) * 40, (True, 4), (1.5, 4), (10**30,), (500_000_000, 4), (None,),
)  # fmt: skip


def head(descr: str, shape: Any, order: str = "False", version: int = 1) -> bytes:
    """Return the head of an array's file (NEP 1) that says this, whatever it is."""
    spelled = descr if descr.startswith("[") else repr(descr)
    text = f"{{'descr': {spelled}, 'fortran_order': {order}, 'shape': {shape!r}, }}".encode()
    return magic(version, len(text)) + text


def magic(version: int, length: int) -> bytes:
    """Return what stands in front of a head of so many bytes."""
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", length & 0xFFFFFFFF)


def _member(chance: random.Random) -> bytes:
    shape = chance.choice(_SHAPES)
    data = np.arange(_ROWS * 4, dtype=np.float32).tobytes()
    match chance.randrange(20):
        case 0:
            length = chance.choice((0, 60_000, 2**31, 2**32 - 1))
            return magic(chance.choice((2, 3)), length) + b" " * chance.choice((0, 60_000, 60_000, 2_000_000)) + data
        case 1:
            return magic(2, 50_000) + chance.choice((b"(" * 50_000, b"[" * 9_000, b"9" * 9_000, b"{" + b"'a':" * 9_000))
        case 2:
            order = chance.choice(("False", "True", "None", "1", "'x'"))
            return head(chance.choice(_DTYPES), shape, order, chance.choice((1, 2, 3, 9))) + data
        case 3:
            return head("<f4", shape) + bytes(chance.choice((0, 100, 100, 2_000_000)))
    stream = io.BytesIO()
    array = np.arange(_ROWS * 4, dtype=np.float32).reshape(_ROWS, 4)
    np.save(
        stream,
        chance.choice(
            (array, array, array, np.asfortranarray(array), array[:, 0], array.astype(object), array * np.nan)
        ),
    )
    return stream.getvalue() if chance.randrange(3) else mutate(chance, stream.getvalue())


def make_archive(chance: random.Random, path: Path, names: tuple[str, ...], usual: int) -> None:
    """Write an archive of arrays that may be good, lie, or be torn."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # the same name twice
        for name in names if chance.randrange(6) else (*names, "z.npy")[: chance.randrange(4)]:
            odd = chance.choice((name[:1], "x.npy", "../x.npy", "é.npy", "x.npy/"))
            named = name if chance.randrange(8) else odd
            archive.writestr(named, _member(chance), chance.choice(_METHODS) if chance.randrange(8) == 0 else usual)
    if chance.randrange(4) == 0:
        path.write_bytes(mutate(chance, path.read_bytes()))


def write_bomb(path: Path, method: int, megabytes: int, shape: tuple[int, ...]) -> None:
    """Write an archive whose array ``x`` is zeros, as small as the method makes it."""
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("x.npy", "w", force_zip64=True) as stream:
        stream.write(head("<f4", shape))
        for _ in range(megabytes):
            stream.write(bytes(2**20))


def _spec(folder: Path) -> SpecFile:
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"})


def _make_samples(chance: random.Random, folder: Path) -> None:
    (folder / "m.onnx").touch()
    make_archive(chance, folder / "d.npz", ("x.npy",), zipfile.ZIP_DEFLATED)


def _make_data(chance: random.Random, folder: Path) -> None:
    (folder / "m.onnx").touch()
    make_archive(chance, folder / "d.npz", ("x.npy", "y.npy"), zipfile.ZIP_STORED)


def read_as_samples(folder: Path) -> bool:
    """Read it as a spec's samples."""
    arrays = read_samples(_spec(folder).spec, folder / "d.npz")
    assert arrays["x"].dtype == np.float32
    assert 1 <= len(arrays["x"]) <= 16
    return True


def read_as_data(folder: Path) -> bool:
    """Read it by rows, with a column of labels."""
    data = open_dataset(_spec(folder), "d.npz", "evaluation", ("y",))
    rows = sum(len(batch["y"]) for batch in data.batches(16))
    assert rows == data.rows == len(data.column("y"))
    return True


def read_as_arrays(folder: Path) -> bool:
    """Read it as what one stage hands to another: an archive of its own making, or one from a container."""
    arrays = read_arrays(folder / "d.npz")
    assert all(isinstance(array, np.ndarray) and not array.dtype.hasobject for array in arrays.values())
    return bool(arrays)


ARRAYS = (
    Kind("samples", _make_samples, read_as_samples, share=8),
    Kind("data", _make_data, read_as_data, share=8),
    Kind("handed arrays", _make_data, read_as_arrays, share=4, allowed=(ValueError,)),
)
