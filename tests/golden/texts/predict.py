"""What people have, for iris: read as it is, and answered by the names of the outputs.

Whatever is wrong with a body is a ValueError whose message is for its sender.
"""

import csv
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
from tensors import encode, to_nested

TAKES = " or ".join(
    (
        'JSON with "text", "weight", or a list of such objects (application/json)',
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
MAX_PARTS = 2  # of a form
PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")  # how their files begin
FIRST = (  # how fields of a form begin
    b"text=",
    b"weight=",
)
HEADS = {
    "total": b"%b:" % encode("total"),
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
    if body.startswith(PICTURES):
        raise ValueError(f"the body is a picture: send {TAKES}")
    return read_csv


def read_json(body: bytes | bytearray) -> Question:
    """Read JSON: an object with the inputs, a list of them."""
    document = documents.load(body, (), MAX_VALUES)
    if isinstance(document, dict):
        return Question(read_records([document]), True)
    if isinstance(document, list) and any(isinstance(item, dict) for item in document):
        return Question(read_records(document), False)
    raise ValueError(f"the JSON must be an object, or a list of objects: send {TAKES}")


def read_records(items: list[Any]) -> dict[str, NDArray[Any]]:
    """Read the inputs from objects."""
    return records.read_records(items)


def read_csv(body: bytes | bytearray) -> Question:
    """Read a table."""
    return Question(records.read_csv(body), False)


def read_form(parts: list[forms.Part]) -> Question:
    """Read a form: a file that is read as a body is, or fields with the names of the inputs."""
    if not parts:
        raise ValueError(f"the form is empty: send {TAKES}")
    if len(parts) == 1 and parts[0].is_file:
        return read_body(parts[0].content, forms.split_header(parts[0].media_type)[0])
    found: dict[str, Any] = {}
    for part in parts:
        if part.name in found:
            raise ValueError(f"the form has the field {part.name!r} twice")
        found[part.name] = part.content.decode()
    table = StringIO()  # a cell of csv and a field of a form say the same in the same way
    csv.writer(table).writerows((found.keys(), found.values()))
    return Question(records.read_csv(table.getvalue().encode()), True)


READERS: dict[bytes, Callable[[bytes | bytearray], Question]] = {
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
    return to_nested(np.asarray(row[name]))


def write_table(results: dict[str, NDArray[Any]]) -> bytes:
    """Write the answer as csv."""
    text = StringIO()
    format_table(text, results)
    return text.getvalue().encode()
