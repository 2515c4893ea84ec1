"""Files of inputs and outputs for sentence, told apart by their suffix.

.json    {"NAME": nested lists, ...}, a request of the Open Inference Protocol, or records
.csv     as columns.py names columns
.txt     a text in UTF-8
others   npz: arrays by name, as numpy.savez writes them

Whatever is wrong with a file is a ValueError whose message is for a person.
"""

import json
import zipfile
from collections.abc import Callable, Mapping
from itertools import chain
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from columns import write_table
from inference import INPUTS, check_names, check_shapes, one_line, to_json
from records import read_records, read_table

MAX_JSON = 64 * 2**20  # bytes; the largest inputs take no more
MAX_ITEM = 16  # bytes; no number has more
MAX_TEXTS = 64 * 2**20  # bytes of an array of strings
MAX_HEAD = 10_000  # bytes in front of an array; numpy refuses more, but reads them first
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy's; others are unpacked without a limit
T = TypeVar("T")


class Kind(NamedTuple):
    """What values of one dtype are in JSON and csv."""

    words: str
    types: set[type]
    dtype: type[np.generic]  # which numpy first makes of them


KINDS: dict[type[np.generic], Kind] = {
    np.str_: Kind("strings", {str}, np.object_),
}


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Read the inputs by name."""
    match path.suffix.lower():
        case ".json":
            return read_json(path)
        case ".csv":
            return read_table(path)
        case ".txt":
            return {"text": read_alone(path)}
        case _:
            return read_npz(path)


def read_alone(path: Path) -> NDArray[Any]:
    """Read a file that is the only row of the only input."""
    with path.open("rb") as file:
        data = file.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
        raise ValueError(f"more than {MAX_JSON} bytes")
    row = np.empty(1, object)
    row[0] = data.decode("utf-8-sig")
    check_shapes({"text": row.shape})
    return row


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read an npz, of which no more is unpacked than the model can take."""
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except Exception as error:  # a damaged archive fails in a dozen ways
            raise ValueError(f"not an npz file: {one_line(error)}") from error
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        check_names(members)
        heads = {name: unpack(archive, member, read_head) for name, member in members.items()}
        check_shapes({name: shape for name, (shape, _) in heads.items()})
        for name, (shape, dtype) in heads.items():
            check_size(name, shape, dtype)
        return {name: unpack(archive, member, read_array) for name, member in members.items()}


def unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, read: Callable[[IO[bytes]], T]) -> T:
    """Read from a member of an archive."""
    try:
        if member.compress_type not in METHODS:
            raise ValueError("it is compressed in a way that numpy does not know")
        with archive.open(member) as file:
            return read(file)
    except Exception as error:  # a damaged archive fails in a dozen ways
        raise ValueError(f"not an npz file of plain arrays: {one_line(error)}") from error


def read_head(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the shape and the dtype in front of an array."""
    formats = np.lib.format
    first = formats.read_magic(file) == (1, 0)
    read_header = formats.read_array_header_1_0 if first else formats.read_array_header_2_0
    shape, _, dtype = read_header(file, MAX_HEAD)
    return shape, dtype


def read_array(file: IO[bytes]) -> NDArray[Any]:
    """Read an array, which numpy would unpickle if it were let."""
    array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False, max_header_size=MAX_HEAD)
    return array


def check_size(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ValueError for an array of the right shape whose elements are too large to be read."""
    largest = MAX_TEXTS if dtype.kind == "U" else MAX_ITEM * prod(shape)
    if (size := dtype.itemsize * prod(shape)) > largest:
        raise ValueError(f"input {name!r}: {size} bytes of {dtype}, at most {largest} are read")


def read_json(path: Path) -> dict[str, NDArray[Any]]:
    """Read a JSON document."""
    with path.open("rb") as file:
        text = file.read(MAX_JSON + 1)
    if len(text) > MAX_JSON:
        raise ValueError(f"more than {MAX_JSON} bytes, which no inputs take; npz has no such limit")
    try:
        document = DECODER.decode(text.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if isinstance(document, list):
        return read_records(document)
    if not isinstance(document, dict):
        raise ValueError('expected an object, {"NAME": nested lists, ...} or a list of records')
    items = document.get("inputs")
    if isinstance(items, list) and all(isinstance(item, dict) for item in items):
        found = read_request(items)
    else:
        check_names(document)
        found = {name: unnest(name, data) for name, data in document.items()}
    check_shapes({name: shape for name, (_, shape) in found.items()})
    return {name: make_array(name, values, shape) for name, (values, shape) in found.items()}


def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object's dictionary; a key that is there twice would lose its first value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def refuse_constant(word: str) -> None:
    """Refuse what JSON does not have."""
    raise ValueError(f'JSON has no {word}: write "{word}", in quotes')


DECODER = json.JSONDecoder(object_pairs_hook=make_object, parse_constant=refuse_constant)


def read_request(items: list[dict[str, Any]]) -> dict[str, tuple[list[Any], list[int]]]:
    """Read the values and the shape of each input of a request of the Open Inference Protocol."""
    names = [item.get("name") for item in items]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"each of 'inputs' must have a 'name' of its own, got {names!r:.60}")
    check_names(map(str, names))
    found: dict[str, tuple[list[Any], list[int]]] = {}
    for item in items:
        name, shape, data = item["name"], item.get("shape"), item.get("data")
        if not isinstance(data, list):
            raise ValueError(f"input {name!r}: 'data' must be a list; binary tensors are for the server")
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"input {name!r}: 'shape' must be a list of sizes, got {shape!r:.60}")
        nested = any(isinstance(part, list) for part in data)
        values, actual = unnest(name, data) if nested else (data, shape)
        if actual != shape or len(values) != prod(shape):
            raise ValueError(f"input {name!r}: 'data' is not of the shape {shape!r:.60}")
        found[name] = values, shape
    return found


def unnest(name: str, data: object) -> tuple[list[Any], list[int]]:
    """Give the values of nested lists, and their shape."""
    level: list[Any] = [data]
    shape: list[int] = []
    for _ in INPUTS[name].shape:
        if not all(isinstance(part, list) for part in level):
            raise ValueError(f"input {name!r}: expected lists nested {len(INPUTS[name].shape)} deep")
        sizes = set(map(len, level)) or {0}
        if len(sizes) > 1:
            found = f"lists of {min(sizes)} and of {max(sizes)}"
            raise ValueError(f"input {name!r}, dimension {len(shape)}: {found}")
        shape.append(sizes.pop())
        level = list(chain.from_iterable(level))
    return level, shape


def make_array(name: str, values: list[Any], shape: list[Any]) -> NDArray[Any]:
    """Make the input's array of values that were read from text."""
    kind = KINDS[INPUTS[name].dtype]
    if set(map(type, values)) - kind.types:
        wrong = next(value for value in values if type(value) not in kind.types)
        raise ValueError(f"input {name!r}: expected {kind.words}, got {wrong!r:.60}")
    "".join(values).encode()  # JSON can escape half a character, which no model takes
    return np.array(values, kind.dtype).reshape(shape)


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        match path.suffix.lower():
            case ".json":
                document = {name: to_json(array) for name, array in arrays.items()}
                part.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")
            case ".csv":
                write_table(part, arrays)
            case _:
                with zipfile.ZipFile(part, "w") as archive:
                    for name, array in arrays.items():
                        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                            write_array(file, array)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_array(file: IO[bytes], array: NDArray[Any]) -> None:
    """Write an array as numpy.save does; np.savez would take some names for its own arguments."""
    plain = array.astype(str) if array.dtype == object else array
    np.lib.format.write_array(file, plain, allow_pickle=False)
