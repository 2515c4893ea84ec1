"""An ``.npz`` read by rows: its arrays are never whole in memory, and nothing in it is unpickled."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from onnxpack.core.errors import Problem, SpecError
from onnxpack.data.test_inputs import Arrays

_CURE = "save it again with numpy.savez"


@dataclass(frozen=True)
class _Header:
    """The header of an array in numpy's format (NEP 1)."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    by_columns: bool

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * prod(self.shape[1:])


class Npz:
    """An ``.npz`` file; ``label`` names it in errors."""

    def __init__(self, path: Path, label: str) -> None:
        self._path = path
        self._label = label

    def headers(self, names: tuple[str, ...]) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Return the dtypes and shapes of the named arrays without reading them.

        Raises:
            SpecError: an array is missing, is no plain array, or is shorter than its header says.
        """
        with self._open_archive() as archive:
            known = {name.removesuffix(".npy"): name for name in archive.namelist()}
            missing = [name for name in names if name not in known]
            if missing:
                found = ", ".join(known)[:300]
                hint = f"it has: {found}" if found else "it is empty"
                raise SpecError([Problem(f"{self._label}: no array named '{name}'", hint) for name in missing])
            found_headers = {}
            for name in names:
                with self._open_member(archive, known[name]) as stream:
                    header = self._read_header(stream, name)
                    whole = stream.tell() + header.dtype.itemsize * prod(header.shape)
                if archive.getinfo(known[name]).file_size < whole:
                    raise SpecError(f"{self._label}: '{name}' ends early", _CURE)
                found_headers[name] = (header.dtype, header.shape)
        return found_headers

    def pieces(self, names: tuple[str, ...], size: int) -> Iterator[Arrays]:
        """Yield the named arrays, ``size`` rows at once; an array in Fortran order is read whole."""
        rows = {shape[:1] for _, shape in self.headers(names).values()}
        count = max((shape[0] for shape in rows if shape), default=0)
        with ExitStack() as stack:
            archive = stack.enter_context(self._open_archive())
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            readers = {}
            for name in names:
                stream = stack.enter_context(self._open_member(archive, members[name]))
                readers[name] = self._iterate_rows(stream, name, size)
            for _ in range(0, count, size):
                yield {name: next(reader) for name, reader in readers.items()}

    def _iterate_rows(self, stream: IO[bytes], name: str, size: int) -> Iterator[np.ndarray[Any, Any]]:
        header = self._read_header(stream, name)
        native = header.dtype.newbyteorder("=")
        if header.by_columns:
            data = self._read_bytes(stream, header.row_bytes * header.shape[0], name)
            whole = np.frombuffer(data, header.dtype).reshape(header.shape, order="F").astype(native, order="C")
            yield from (whole[start : start + size] for start in range(0, header.shape[0], size))
            return
        for start in range(0, header.shape[0], size):
            shape = (min(size, header.shape[0] - start), *header.shape[1:])
            data = self._read_bytes(stream, header.row_bytes * shape[0], name)
            flat = np.frombuffer(data, header.dtype) if data else np.zeros(prod(shape), header.dtype)
            yield flat.reshape(shape).astype(native, copy=False)

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

    def _read_header(self, stream: IO[bytes], name: str) -> _Header:
        try:
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, by_columns, dtype = read(stream)
        except Exception as error:  # not an array, a torn archive: several kinds
            raise SpecError(f"{self._label}: '{name}' is no plain array: {error}", _CURE) from None
        if dtype.hasobject or dtype.kind not in "biufUS" or min(shape, default=0) < 0:
            raise SpecError(f"{self._label}: '{name}' has dtype {dtype}", "save numbers, or strings as dtype str")
        return _Header(dtype, shape, by_columns and len(shape) > 1)

    def _open_archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._path)
        except Exception as error:  # not a zip, not there, torn
            raise SpecError(f"{self._label}: not a readable .npz of plain arrays: {error}", _CURE) from None

    def _open_member(self, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
        try:
            return archive.open(name)
        except Exception as error:  # torn, encrypted, of a compression that is not here
            raise SpecError(f"{self._label}: '{name}' cannot be read: {error}", _CURE) from None
