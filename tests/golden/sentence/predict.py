"""What people have, for sentence: read as it is, and answered by the names of the outputs.

Whatever is wrong with a body is a ValueError whose message is for its sender.
"""

from collections.abc import Callable, Iterable
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import documents
import forms
import records
from columns import format_table
from inference import check_shapes
from tensors import encode, to_nested, to_text

TAKES = " or ".join(
    (
        "a text (text/plain)",
        'JSON with "text", or a list of such objects (application/json)',
        "a table whose first line names its columns (text/csv)",
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
PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")  # how their files begin
NAME = "text"
RANK = 0  # of lists in a row
FIRST = (  # how fields of a form begin
    b"text=",
)
CLASSES = {  # the words for an output's places
    "scores": (
        "bad",
        'so "so"',
        "good",
    ),
}
HEADS = {
    "label": b"%b:" % encode("label"),
    "scores": b"%b:" % encode("scores"),
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
    if reader := READERS.get(kind):
        return reader(body)
    reader = find_reader(body)
    try:
        return reader(body)
    except ValueError as error:
        if reader is read_json:
            raise ValueError(f"{error}; a text that begins as JSON needs Content-Type: text/plain") from None
        raise


def find_reader(body: bytes | bytearray) -> Callable[[bytes | bytearray], Question]:
    """Return what reads a body of which nobody says what it is."""
    if body[:1000].lstrip()[:1] in (b"{", b"[", b'"'):
        return read_json
    if body.startswith(PICTURES):
        raise ValueError(f"the body is a picture: send {TAKES}")
    return read_text


def read_json(body: bytes | bytearray) -> Question:
    """Read JSON: an object with the inputs, a list of them, or the input's value itself."""
    document = documents.load(body, (), MAX_VALUES)
    if isinstance(document, dict):
        return Question(read_records([document]), True)
    if isinstance(document, list) and any(isinstance(item, dict) for item in document):
        return Question(read_records(document), False)
    return read_values(document)


def read_values(document: Any) -> Question:
    """Read one value of the input, or a list of them."""
    if len(measure(document)) <= RANK:
        return Question(read_records([{NAME: document}]), True)
    if not document:
        raise ValueError("the list is empty")
    return Question(read_records([{NAME: value} for value in document]), False)


def read_records(items: list[Any]) -> dict[str, NDArray[Any]]:
    """Read the inputs from objects."""
    return records.read_records(items)


def read_csv(body: bytes | bytearray) -> Question:
    """Read a table."""
    return Question(records.read_csv(body), False)


def measure(value: Any) -> list[int]:
    """Return the sizes of nested lists, as their first elements have them."""
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def read_text(body: bytes | bytearray) -> Question:
    """Read one text; the last line's end is that of a file, not of the text."""
    return Question(read_records([{NAME: decode(body)}]), True)


def decode(body: bytes | bytearray) -> str:
    """Return a text without the end of its last line."""
    try:
        return body.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise ValueError(f"the body is not text in UTF-8: {error}") from None


def read_form(parts: list[forms.Part]) -> Question:
    """Read a form: each part is a text."""
    if not parts:
        raise ValueError(f"the form is empty: send {TAKES}")
    return Question(read_records([{NAME: decode(part.content)} for part in parts]), len(parts) == 1)


READERS: dict[bytes, Callable[[bytes | bytearray], Question]] = {
    b"text/plain": read_text,
    b"application/json": read_json,
    b"text/csv": read_csv,
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
    if name in CLASSES:
        items = zip(CLASSES[name], list_elements(row[name]), strict=True)
        return write_object(b"%b:%b" % (encode(word), value) for word, value in items)
    return to_nested(np.asarray(row[name]))


def list_elements(array: NDArray[Any]) -> list[bytes]:
    """Write each number of a flat array."""
    return to_text(array).split(b",") if array.size else []


def write_table(results: dict[str, NDArray[Any]]) -> bytes:
    """Write the answer as csv."""
    text = StringIO()
    format_table(text, results)
    return text.getvalue().encode()
