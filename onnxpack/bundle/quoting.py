"""Free text, made safe for where it goes: Python source, identifiers, columns, a Dockerfile's words.

The Dockerfile's rules are those of its reference ("Environment replacement", "LABEL"): inside double quotes
a backslash makes ``"``, ``$`` and itself literal, and nothing can carry a line's end.
"""

import keyword
import re
import textwrap
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence

from onnxpack.core.errors import SpecError

_WIDTH = 100
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")


def python_literal(text: str) -> str:
    """Return a Python literal of ``text`` on one line, in double quotes where that needs no escapes."""
    # repr uses double quotes where a text holds a single one: it gets one in front, which is cut off again.
    return repr(text) if '"' in text else '"' + repr(f"'{text}")[2:]


def write_value(value: bool | int | float | str) -> str:
    """Return a Python literal of a value."""
    return python_literal(value) if isinstance(value, str) else repr(value)


def escape_docstring(text: str) -> str:
    """Escape ``text`` for one line of a docstring: it cannot end the docstring, and reads back as it was."""
    safe = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text.replace("\\", "\\\\"))
    return safe.replace('"""', r"\"\"\"")


def wrap_text(text: str) -> list[str]:
    """Wrap ``text`` into lines of at most 100 characters; a paragraph's white space becomes single spaces."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines += textwrap.wrap(" ".join(paragraph.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)
        lines.append("")
    return lines[:-1]


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the cells of rows; a cell that begins or ends with white space is quoted."""
    shown = [[cell if cell == cell.strip() else python_literal(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in shown if len(row) > i) for i in range(max(map(len, shown)))]
    return ["  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=False)).rstrip() for row in shown]


def make_identifiers(names: Sequence[str], what: str, taken: Collection[str]) -> list[str]:
    """Return a Python identifier for each name: never a keyword, never one of ``taken``, all different.

    Names lose leading underscores, which a class would mangle and a NamedTuple refuses.
    """
    found: list[str] = []
    for number, name in enumerate(names, 1):
        word = re.sub(r"\W+", "_", name, flags=re.ASCII).lstrip("_") or f"{what}_{number}"
        if word[0].isdigit():
            word = f"{what}_{word}"
        if keyword.iskeyword(word) or word in taken:
            word += "_"
        free, count = word, 1
        while free in found or free in taken:
            count += 1
            free = f"{word}_{count}"
        found.append(free)
    return found


def quote_docker_word(text: str) -> str:
    """Return a double-quoted word that a Dockerfile reads back as exactly ``text``.

    Raises SpecError for control characters, a line's end among them: no quoting can carry them.
    """
    for char in text:
        if unicodedata.category(char) in ("Cc", "Cs") and char != "\t":
            raise SpecError(f"{text!r} holds {char!r}, which a Dockerfile cannot express", "remove it")
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def quote_docker_label(text: str) -> str:
    """Return ``text`` as ``quote_docker_word`` does, with white space folded: a label cannot have several lines."""
    return quote_docker_word(" ".join(text.split()))


def check_image_reference(base: str) -> None:
    """Raise SpecError unless FROM takes ``base`` as one image reference: it is not quoted there."""
    if not _IMAGE.fullmatch(base):
        raise SpecError(f"{base!r} is not an image reference", hint="set it like `registry.example.com/python:3.11`")


def check_variables(names: Iterable[str], reserved: Collection[str]) -> None:
    """Raise SpecError for a name that is no environment variable's, or that the image itself relies on."""
    for name in names:
        if not _VARIABLE.fullmatch(name):
            raise SpecError(f"{name!r} cannot be an environment variable's name", "use letters, digits and _")
        if name in reserved:
            raise SpecError(f"{name} is set by the image itself", hint="remove it from `image.env`")


def check_label_keys(labels: Mapping[str, str]) -> None:
    """Raise SpecError for a key that Docker's guidelines for labels do not allow."""
    for key in labels:
        if not _LABEL_KEY.fullmatch(key):
            raise SpecError(f"{key!r} cannot be a label's key", hint="use letters, digits and . _ / - only")
