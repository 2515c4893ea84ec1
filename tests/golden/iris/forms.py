"""Forms as browsers and curl send them: multipart/form-data, and fields as in a URL.

A body decides nothing about memory: its parts are counted, and their heads are short. Whatever is wrong is a
ValueError whose message is for the sender.
"""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl

MAX_HEAD = 4 * 2**10  # bytes of a part's headers
MAX_BOUNDARY = 70  # bytes, as the standard has it
_PARAMETER = re.compile(rb';[ \t]*([^\s=;"]+)=("(?:[^"\\]|\\.)*"|[^\s;"]*)')
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PLAIN = (b"", b"7bit", b"8bit", b"binary")


class Part(NamedTuple):
    """A field of a form, or a file."""

    name: str
    content: bytes
    media_type: bytes  # empty where the sender does not say
    is_file: bool


def split_header(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the first word of a header such as Content-Type, in lower case, and its parameters."""
    word, _, _ = value.partition(b";")
    return word.strip().lower(), {name.lower(): unquote(text) for name, text in _PARAMETER.findall(value)}


def unquote(text: bytes) -> bytes:
    """Return a parameter's value without the quotes around it."""
    return _ESCAPED.sub(rb"\1", text[1:-1]) if text.startswith(b'"') else text


def read_parts(body: bytes | bytearray, boundary: bytes, most: int) -> list[Part]:
    """Read multipart/form-data of at most so many parts."""
    if not 0 < len(boundary) <= MAX_BOUNDARY:
        raise ValueError(f"Content-Type must name a boundary of 1 to {MAX_BOUNDARY} bytes")
    mark = b"\r\n--" + boundary
    if not body.startswith(mark[2:]):
        raise ValueError("the body does not begin with the boundary that Content-Type names")
    parts: list[Part] = []
    at = len(mark) - 2
    while body[at : at + 2] != b"--":
        where = f"part {len(parts) + 1}"
        if len(parts) == most:
            raise ValueError(f"the form has more than {most} parts")
        head = body.find(b"\r\n\r\n", at, at + MAX_HEAD)
        if body[at : at + 2] != b"\r\n" or head < 0:
            raise ValueError(f"{where}: its headers are wrong, or larger than {MAX_HEAD} bytes")
        end = body.find(mark, head + 4)
        if end < 0:
            raise ValueError(f"{where}: no boundary follows it")
        try:
            parts.append(read_part(bytes(body[at + 2 : head]), bytes(body[head + 4 : end])))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        at = end + len(mark)
    return parts


def read_part(head: bytes, content: bytes) -> Part:
    """Read one part of a form."""
    headers = {}
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    kind, parameters = split_header(headers.get(b"content-disposition", b""))
    if kind != b"form-data" or b"name" not in parameters:
        raise ValueError('it needs a header like: Content-Disposition: form-data; name="x"')
    if headers.get(b"content-transfer-encoding", b"").lower() not in _PLAIN:
        raise ValueError("its content must be sent as it is, without a Content-Transfer-Encoding")
    media_type = headers.get(b"content-type", b"")
    if media_type.lower().startswith(b"multipart/"):
        raise ValueError("a form inside of a form is not read")
    is_file = b"filename" in parameters or b"filename*" in parameters
    return Part(parameters[b"name"].decode(), content, media_type, is_file)


def read_fields(body: bytes | bytearray, most: int) -> list[Part]:
    """Read the fields of application/x-www-form-urlencoded."""
    if body.count(b"&") >= most:
        raise ValueError(f"the form has more than {most} fields")
    fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    return [Part(name, text.encode(), b"", False) for name, text in fields]
