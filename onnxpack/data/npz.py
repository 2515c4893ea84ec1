"""Archives of arrays: ``.npz`` files, of which nothing is unpickled, and no more is in memory than they are worth.

What a head says is judged before any byte behind it is read: a head may claim 2 GB of itself, or a shape of 2**60. What
a user gives is read by rows or array by array (``Npz``), what one stage hands to another whole (``read_arrays``).
"""

import io
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from onnxpack.core.errors import Problem, SpecError

Arrays = dict[str, np.ndarray[Any, Any]]
Head = tuple[np.dtype[Any], tuple[int, ...]]
"""An array's dtype and shape."""

_CURE = "save it again with numpy.savez"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The compressions that numpy writes. Python unpacks the others without a limit: 1 kB of bzip2 may be gigabytes."""
_LONGEST_HEAD = 10_000
"""Bytes; numpy itself refuses longer ones, but reads them first."""
_MOST_AXES = 64  # of any array in numpy 2
_MOST_EMPTY_ROWS = 1_000_000
"""Rows that take no bytes: any number of them fits into any file, and each takes time."""
_LAST_CHARACTER = 0x10FFFF
_HALVES = (0xD800, 0xDFFF)
"""Halves of surrogate pairs, which stand for no characters."""


@dataclass(frozen=True)
class _Header:
    """What stands in front of an array's bytes (numpy's format, NEP 1)."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    by_columns: bool

    @property
    def size(self) -> int:
        return self.dtype.itemsize * prod(self.shape)

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * prod(self.shape[1:])


class Npz:
    """An ``.npz`` file; ``label`` names it in errors."""

    def __init__(self, file: Path | BinaryIO, label: str) -> None:
        self._file = file
        self._label = label

    def names(self) -> list[str]:
        """Return the arrays' names, in the archive's order.

        Raises:
            SpecError: it is no archive.
        """
        with self._open_archive() as archive:
            return list(_list_members(archive))

    def headers(self, names: tuple[str, ...]) -> dict[str, Head]:
        """Return the dtypes and shapes of the named arrays without reading them.

        Raises:
            SpecError: an array is missing, is no plain array, or is shorter than its header says.
        """
        with self._open_archive() as archive:
            known = self._find(archive, names)
            heads = {}
            for name in names:
                with self._open_member(archive, known[name]) as stream:
                    header = self._read_header(stream, name, known[name].file_size)
                heads[name] = (header.dtype, header.shape)
        return heads

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """Return one array whole, whose head was judged by the caller; raises as ``headers`` does."""
        with self._open_archive() as archive:
            return self._read_whole(archive, self._find(archive, (name,))[name], name)

    def plain_arrays(self) -> Arrays:
        """Return all arrays, in order, where none takes more memory than it takes bytes of the archive.

        Raises:
            SpecError: one is compressed, or as ``headers`` does.
        """
        with self._open_archive() as archive:
            members = _list_members(archive)
            for name, member in members.items():
                if member.compress_type != zipfile.ZIP_STORED or member.file_size > member.compress_size:
                    raise SpecError(f"{self._label}: '{name}' is compressed", _CURE)
            return {name: self._read_whole(archive, member, name) for name, member in members.items()}

    def pieces(self, names: tuple[str, ...], size: int) -> Iterator[Arrays]:
        """Yield the named arrays, ``size`` rows at once; an array in Fortran order is read whole."""
        rows = {shape[:1] for _, shape in self.headers(names).values()}
        count = max((shape[0] for shape in rows if shape), default=0)
        with ExitStack() as stack:
            archive = stack.enter_context(self._open_archive())
            members = self._find(archive, names)
            readers = {}
            for name in names:
                stream = stack.enter_context(self._open_member(archive, members[name]))
                header = self._read_header(stream, name, members[name].file_size)
                readers[name] = self._iterate_rows(stream, header, name, size)
            for _ in range(0, count, size):
                yield {name: next(reader) for name, reader in readers.items()}

    def _find(self, archive: zipfile.ZipFile, names: tuple[str, ...]) -> dict[str, zipfile.ZipInfo]:
        """Return the members of these names, among others."""
        known = _list_members(archive)
        missing = [name for name in names if name not in known]
        if missing:
            found = ", ".join(known)[:300]
            hint = f"it has: {found}" if found else "it is empty"
            raise SpecError([Problem(f"{self._label}: no array named '{name}'", hint) for name in missing])
        return known

    def _read_whole(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray[Any, Any]:
        with self._open_member(archive, member) as stream:
            header = self._read_header(stream, name, member.file_size)
            return self._decode_array(self._read_bytes(stream, header.size, name), header, header.shape, name)

    def _iterate_rows(self, stream: IO[bytes], header: _Header, name: str, size: int) -> Iterator[np.ndarray[Any, Any]]:
        rows = header.shape[0]
        if header.by_columns:
            whole = self._decode_array(self._read_bytes(stream, header.size, name), header, header.shape, name)
            whole = np.ascontiguousarray(whole)
            yield from (whole[start : start + size] for start in range(0, rows, size))
            return
        for start in range(0, rows, size):
            shape = (min(size, rows - start), *header.shape[1:])
            yield self._decode_array(self._read_bytes(stream, header.row_bytes * shape[0], name), header, shape, name)

    def _decode_array(
        self, data: bytearray, header: _Header, shape: tuple[int, ...], name: str
    ) -> np.ndarray[Any, Any]:
        """Return the bytes as an array in this machine's order."""
        if header.dtype.kind == "U" and data:
            codes = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(header.dtype.byteorder))
            low, high = _HALVES
            if codes.max() > _LAST_CHARACTER or ((codes >= low) & (codes <= high)).any():
                raise SpecError(f"{self._label}: '{name}' holds what is no text", _CURE)
        flat = np.frombuffer(data, header.dtype) if data else np.zeros(prod(shape), header.dtype)
        whole = flat.reshape(shape, order="F" if header.by_columns else "C")
        return whole.astype(header.dtype.newbyteorder("="), copy=False)

    def _read_bytes(self, stream: IO[bytes], count: int, name: str) -> bytearray:
        data = bytearray()  # one that can be written: a model may change its inputs in place
        try:
            while len(data) < count and (more := stream.read(count - len(data))):
                data += more
        except Exception as error:  # a flipped bit shows as zlib's, zipfile's or the system's kind
            raise SpecError(f"{self._label}: '{name}' is damaged: {error}", _CURE) from None
        if len(data) < count:
            raise SpecError(f"{self._label}: '{name}' ends early", _CURE)
        return data

    def _read_header(self, stream: IO[bytes], name: str, length: int) -> _Header:
        """Return what stands in front of an array, of which ``length`` bytes are there."""
        try:
            shape, by_columns, dtype = _read_head(stream)
        except Exception as error:  # not an array, a torn archive: several kinds
            raise SpecError(f"{self._label}: '{name}' is no plain array: {error}", _CURE) from None
        if dtype.hasobject or dtype.kind not in "biufUS" or not dtype.itemsize or min(shape, default=0) < 0:
            raise SpecError(f"{self._label}: '{name}' has dtype {dtype}", "save numbers, or strings as dtype str")
        shape = tuple(map(int, shape))  # numpy takes True for a size here, and nowhere else
        header = _Header(dtype, shape, by_columns and len(shape) > 1)
        # numpy multiplies the sizes that are not zero, too.
        too_large = prod(size or 1 for size in shape) * dtype.itemsize > sys.maxsize or len(shape) > _MOST_AXES
        if too_large or (shape and not header.row_bytes and shape[0] > _MOST_EMPTY_ROWS):
            raise SpecError(f"{self._label}: '{name}' has a shape that no array has: {str(shape)[:100]}", _CURE)
        if length < stream.tell() + header.size:
            raise SpecError(f"{self._label}: '{name}' ends early", _CURE)
        return header

    def _open_archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._file)
        except Exception as error:  # not a zip, not there, torn
            raise SpecError(f"{self._label}: not a readable .npz of plain arrays: {error}", _CURE) from None

    def _open_member(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
        if member.compress_type not in _METHODS:
            raise SpecError(f"{self._label}: '{member.filename}' is compressed in a way that numpy is not", _CURE)
        try:
            return archive.open(member)
        except Exception as error:  # torn, encrypted
            raise SpecError(f"{self._label}: '{member.filename}' cannot be read: {error}", _CURE) from None


def write_arrays(file: Path | BinaryIO, arrays: Arrays) -> None:
    """Write arrays of any name to an npz; ``numpy.savez`` would take some names as its own arguments."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def read_arrays(file: Path | BinaryIO) -> Arrays:
    """Return the arrays of an archive that this package, or an image of its making, wrote: in its order, uncompressed.

    Raises:
        ValueError: it is not one.
    """
    try:
        return Npz(file, file.name if isinstance(file, Path) else "arrays").plain_arrays()
    except SpecError as error:  # no user wrote it, so it is not the spec that is wrong
        raise ValueError(error.problems[0].message) from None


def _list_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {member.filename.removesuffix(".npy"): member for member in archive.infolist()}


def _read_head(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Let numpy read a head, of which no more is taken from the stream than a head may have.

    Raises:
        Exception: it is none; of several kinds.
    """
    version = np.lib.format.read_magic(stream)
    width, read = {
        (1, 0): (2, np.lib.format.read_array_header_1_0),
        (2, 0): (4, np.lib.format.read_array_header_2_0),
    }[version]
    length = stream.read(width)
    if (claimed := int.from_bytes(length, "little")) > _LONGEST_HEAD:
        raise ValueError(f"its head claims {claimed} bytes")
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(io.BytesIO(length + stream.read(claimed)))
    return found
