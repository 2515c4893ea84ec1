"""What people have, for odd: read as it is, and answered by the names of the outputs.

Whatever is wrong with a body is a ValueError whose message is for its sender.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import documents
import forms
from inference import INPUTS, check_names, check_shapes
from tensors import encode, read_data, to_nested

TAKES = " or ".join(
    (
        'JSON with "input.1", "class", "a b", … (application/json)',
        "a form (multipart/form-data)",
    )
)
FORM = b"multipart/form-data"
FIELDS = b"application/x-www-form-urlencoded"
UNSAID = (b"", b"application/octet-stream", FIELDS)  # what curl and others send where nobody says more
CHARSETS = (b"utf-8", b"us-ascii")
BOM = b"\xef\xbb\xbf"  # Windows puts it in front of text
MAX_VALUES = 250_000  # of a large JSON text; packed arrays count as one
MAX_PARTS = 4  # of a form
PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")  # how their files begin
PACKED: tuple[object, ...] = (  # the lists that large texts have as columns
    "input.1",
    "class",
    "a b",
)
FIRST = (  # how fields of a form begin
    b"input.1=",
    b"class=",
    b"a+b=",
    b"a_b=",
)
HEADS = {
    "index": b"%b:" % encode("index"),
    "file": b"%b:" % encode("file"),
    'it\'s "it"': b"%b:" % encode('it\'s "it"'),
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
    return read_json


def read_json(body: bytes | bytearray) -> Question:
    """Read JSON: an object with the inputs."""
    document = documents.load(body, PACKED, MAX_VALUES)
    if isinstance(document, dict):
        return Question(read_records([document]), True)
    raise ValueError(f"the JSON must be an object: send {TAKES}")


def read_records(items: list[Any]) -> dict[str, NDArray[Any]]:
    """Read the inputs from an object; the model takes one at a time."""
    (item,) = items
    check_names(item)
    return {name: read_value(name, item[name]) for name in INPUTS}


def read_value(name: str, value: Any) -> NDArray[Any]:
    """Read the value of an input."""
    dtype, sizes = INPUTS[name].dtype, INPUTS[name].shape
    try:
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
        found[part.name] = read_field(part)
    return Question(read_records([found]), True)


def read_field(part: forms.Part) -> Any:
    """Read a field of a form: numbers and lists as in JSON."""
    check_field(part.name)
    tensor = INPUTS[part.name]
    if tensor.dtype is np.str_ and tensor.shape in ((), (1,)):
        return part.content.decode()
    try:
        return documents.load(part.content, PACKED, MAX_VALUES)
    except ValueError as error:
        raise ValueError(f"field {part.name!r}: {error}") from None


def check_field(name: str) -> None:
    """Raise ValueError unless a field of a form has the name of an input."""
    if name not in INPUTS:
        raise ValueError(f"there is no input {name!r}; the inputs are {', '.join(map(repr, INPUTS))}")


READERS: dict[bytes, Callable[[bytes | bytearray], Question]] = {
    b"application/json": read_json,
}


def write(results: dict[str, NDArray[Any]], single: bool) -> bytes:
    """Write the answer as JSON: an object."""
    return write_row(results)


def write_row(row: dict[str, NDArray[Any]]) -> bytes:
    """Write the outputs."""
    return write_object(head + write_value(name, row) for name, head in HEADS.items())


def write_object(members: Iterable[bytes]) -> bytes:
    """Write an object of members that are text already."""
    return b"{" + b",".join(members) + b"}"


def write_value(name: str, row: dict[str, NDArray[Any]]) -> bytes:
    """Write one output."""
    return to_nested(np.asarray(row[name]))
