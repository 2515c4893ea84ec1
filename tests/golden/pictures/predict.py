"""What people have, for iris: read as it is, and answered by the names of the outputs.

Whatever is wrong with a body is a ValueError whose message is for its sender.
"""

from binascii import a2b_base64
from collections.abc import Callable, Iterable
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import documents
import forms
from columns import format_table
from inference import INPUTS, check_names, check_shapes, show
from tensors import encode, read_data, to_nested

TAKES = " or ".join(
    (
        "a picture (image/png)",
        'JSON with "image", or a list of such objects (application/json)',
        "a form (multipart/form-data)",
    )
)
FORM = b"multipart/form-data"
FIELDS = b"application/x-www-form-urlencoded"
UNSAID = (b"", b"application/octet-stream", FIELDS)  # what curl and others send where nobody says more
CHARSETS = (b"utf-8", b"us-ascii")
BOM = b"\xef\xbb\xbf"  # Windows puts it in front of text
MAX_VALUES = 250_000  # of a large JSON text; packed arrays count as one
MAX_PARTS = 8  # of a form
PACKED: tuple[object, ...] = (  # the lists that large texts have as columns
)
NAME = "image"
RANK = 0  # of lists in a row
FIRST = (  # how fields of a form begin
    b"image=",
)
HEADS = {
    "colour": b"%b:" % encode("colour"),
}


class Question(NamedTuple):
    """What a body asks: the inputs, and whether one answer is expected or a list of them."""

    arrays: dict[str, NDArray[Any]]
    single: bool


def is_taken(content_type: bytes) -> bool:
    """Say whether bodies of a Content-Type are read."""
    kind, parameters = forms.split_header(content_type)
    known = kind in READERS or kind in UNSAID or kind == FORM
    return known and parameters.get(b"charset", CHARSETS[0]).lower() in CHARSETS


def read(body: bytes | bytearray, content_type: bytes) -> Question:
    """Read a body; its inputs' names, dtypes and shapes then fit the model."""
    kind, parameters = forms.split_header(content_type)
    if kind == FORM:
        question = read_form(forms.read_parts(body, parameters.get(b"boundary", b""), MAX_PARTS))
    else:
        question = read_body(body, kind)
    check_shapes({name: array.shape for name, array in question.arrays.items()})
    return question


def read_body(body: bytes | bytearray, kind: bytes) -> Question:
    """Read a body of a kind, or, where the kind says nothing, by how it begins."""
    if body.startswith(BOM):
        body = body[len(BOM) :]
    if not body:
        raise ValueError(f"the body is empty: send {TAKES}")
    if kind == FIELDS and body.startswith(FIRST):
        return read_form(forms.read_fields(body, MAX_PARTS))
    return (READERS.get(kind) or find_reader(body))(body)


def find_reader(body: bytes | bytearray) -> Callable[[bytes | bytearray], Question]:
    """Return what reads a body of which nobody says what it is."""
    if body[:1000].lstrip()[:1] in (b"{", b"[", b'"'):
        return read_json
    return read_picture


def read_json(body: bytes | bytearray) -> Question:
    """Read JSON: an object with the inputs, a list of them, or the input's value itself."""
    document = documents.load(body, PACKED, MAX_VALUES)
    if isinstance(document, dict):
        return Question(read_records([document]), True)
    if isinstance(document, list) and any(isinstance(item, dict) for item in document):
        return Question(read_records(document), False)
    return read_values(document)


def read_values(document: Any) -> Question:
    """Read one value of the input, or a list of them."""
    if len(measure(document)) <= RANK:
        return Question(read_records([{NAME: document}]), True)
    if isinstance(document, documents.Column):  # all rows of a large text
        try:
            return Question({NAME: read_data(document, INPUTS[NAME].dtype, document.shape)}, False)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"input {NAME!r}: {tell(error)}") from None
    if not document:
        raise ValueError("the list is empty")
    return Question(read_records([{NAME: value} for value in document]), False)


def read_records(items: list[Any]) -> dict[str, NDArray[Any]]:
    """Read the inputs from objects that each have those of one row."""
    rows: dict[str, list[NDArray[Any]]] = {name: [] for name in INPUTS}
    for number, item in enumerate(items, 1):
        where = f"row {number}" if len(items) > 1 else "the object"
        if not isinstance(item, dict):
            raise ValueError(f"{where} must be an object with the inputs")
        try:
            check_names(item)
            for name, found in rows.items():
                found.append(read_value(name, item[name]))
                if (shape := found[-1].shape) != (first := found[0].shape):
                    raise ValueError(f"input {name!r}: its shape is {show(shape)}, and row 1's {show(first)}")
        except ValueError as error:
            raise ValueError(f"{where}: {error}" if len(items) > 1 else str(error)) from None
    return {name: np.stack(found) for name, found in rows.items()}


def read_value(name: str, value: Any) -> NDArray[Any]:
    """Read the value of an input in one row."""
    dtype, sizes = INPUTS[name].dtype, INPUTS[name].shape[1:]
    try:
        if dtype is np.bytes_:
            return read_file(value)
        shape = measure(value)
        if len(shape) != len(sizes):
            raise ValueError(f"'data' must be {tell_rank(len(sizes))}, got {tell_rank(len(shape))}")
        return read_data(value if shape else [value], dtype, shape)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"input {name!r}: {tell(error)}") from None


def tell(error: Exception) -> str:
    """Tell what is wrong with a value: the readers are those of the protocol, which knows it as 'data'."""
    return str(error).replace("'data'", "it")


def tell_rank(rank: int) -> str:
    """Describe what has so many dimensions."""
    return ("one value", "a list")[rank] if rank < 2 else f"lists in lists, {rank} deep"


def measure(value: Any) -> list[int]:
    """Return the sizes of nested lists, as their first elements have them."""
    if isinstance(value, documents.Column):
        return list(value.shape)
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def read_file(value: Any) -> NDArray[Any]:
    """Read a picture's file: its bytes, or in JSON base64 or a data: URL."""
    if isinstance(value, str):
        if value.startswith("data:"):
            value = value[value.find(",") + 1 :]
        try:
            value = a2b_base64("".join(value.split()), strict_mode=True)
        except ValueError as error:
            raise ValueError(f"it must be a picture in base64, or a data: URL with base64: {error}") from None
    if not isinstance(value, bytes):
        raise ValueError("it must be a picture in base64")
    array = np.empty((), object)
    array[()] = value
    return array


def read_picture(body: bytes | bytearray) -> Question:
    """Read a picture."""
    return Question(read_records([{NAME: bytes(body)}]), True)


def read_form(parts: list[forms.Part]) -> Question:
    """Read a form: each part is a picture."""
    if not parts:
        raise ValueError(f"the form is empty: send {TAKES}")
    return Question(read_records([{NAME: part.content} for part in parts]), len(parts) == 1)


READERS: dict[bytes, Callable[[bytes | bytearray], Question]] = {
    b"image/png": read_picture,
    b"application/json": read_json,
}


def write(results: dict[str, NDArray[Any]], single: bool) -> bytes:
    """Write the answer as JSON: an object, or a list with one for each row."""
    count = len(next(iter(results.values())))
    rows = [write_row({name: array[index] for name, array in results.items()}) for index in range(count)]
    return rows[0] if single else b"[%b]" % b",".join(rows)


def write_row(row: dict[str, NDArray[Any]]) -> bytes:
    """Write the outputs of one row."""
    return write_object(head + write_value(name, row) for name, head in HEADS.items())


def write_object(members: Iterable[bytes]) -> bytes:
    """Write an object of members that are text already."""
    return b"{" + b",".join(members) + b"}"


def write_value(name: str, row: dict[str, NDArray[Any]]) -> bytes:
    """Write one output."""
    return to_nested(np.asarray(row[name]))


def write_table(results: dict[str, NDArray[Any]]) -> bytes:
    """Write the answer as csv."""
    text = StringIO()
    format_table(text, results)
    return text.getvalue().encode()
