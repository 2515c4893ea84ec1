"""Writes plain values as a spec's YAML: blocks above, flow below, comments where they belong."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxpack.core.errors import Location
from onnxpack.core.text import wrap_comment
from onnxpack.spec.decode import Decoder
from onnxpack.spec.yaml_nodes import Scalar

Notes = Mapping[tuple[str, ...], Sequence[str]]
"""Comments by the path of the field that they stand above; the empty path heads the file."""

UNSET: Any = object()
"""Stands for a field that is left out; only its comments are written."""

_WIDTH = 120
_PLAIN = re.compile(
    r"[A-Za-z_][A-Za-z0-9_./-]*(:[A-Za-z_][A-Za-z0-9_.]*)?|[0-9a-f]{64}|\.\./[A-Za-z0-9_./:-]*[A-Za-z0-9_]"
)


def document(fields: Mapping[str, Any], notes: Notes) -> str:
    """Return the text of a spec with these fields, in their order."""
    lines = [line for note in notes.get((), ()) for line in wrap_comment(note)]
    return "\n".join([*lines, *_block(fields, (), notes)]) + "\n"


def _block(fields: Mapping[str, Any], path: tuple[str, ...], notes: Notes) -> Iterator[str]:
    indent = 2 * len(path)
    first = True
    for key, value in fields.items():
        here = (*path, key)
        above = [line for note in notes.get(here, ()) for line in wrap_comment(note, indent)]
        block = value is not UNSET and isinstance(value, Mapping) and value and _needs_block(value, here, notes)
        steps = not path and isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value)
        if not path and not first and (above or block or steps):
            yield ""
        yield from above
        first = False
        if value is UNSET:
            continue
        if block:
            yield f"{' ' * indent}{scalar(key)}:"
            yield from _block(value, here, notes)
        elif steps:
            yield f"{scalar(key)}:"
            for item in value:
                yield from _step(item)
        else:
            yield f"{' ' * indent}{scalar(key)}: {flow(value)}"


def _step(item: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one item of a list: one line, or a block if that would be too long."""
    line = f"  - {flow(item)}"
    if len(line) <= _WIDTH:
        yield line
        return
    first, *rest = _block(item, ("", ""), {})
    yield f"  - {first.lstrip()}"
    yield from rest


def _needs_block(value: Mapping[str, Any], path: tuple[str, ...], notes: Notes) -> bool:
    if len(path) == 1 or any(len(other) > len(path) and other[: len(path)] == path for other in notes):
        return True
    return UNSET in value.values() or 2 * len(path) + len(path[-1]) + len(flow(value)) > _WIDTH - 4


def flow(value: Any) -> str:
    """Return a value in YAML's flow style, on one line."""
    if isinstance(value, Mapping):
        inner = (f"{scalar(key)}: {flow(item)}" for key, item in value.items() if item is not UNSET)
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """Return a leaf as YAML; text is quoted wherever a reader of YAML could take it for something else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        # YAML 1.1 takes 1e-05 for text, 1.0e-05 for a number.
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and Decoder().decode(Any, Scalar(Location(""), text, True)) == text:
        return text
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08X}"
