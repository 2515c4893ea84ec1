"""Words for the problems of a spec: paths of fields, suggestions, and shortened texts."""

import difflib
from collections.abc import Iterable
from itertools import islice
from typing import Any

from onnxpack.core.redact import redact
from onnxpack.core.text import clean
from onnxpack.spec.yaml_nodes import Items, Node, Scalar

Path = tuple[str | int, ...]
"""The path of a field: keys, and indexes of list items."""

_MAX_QUOTED = 40  # characters of a text that a hint repeats
_MAX_READ = 10_000  # characters of a text that are searched for secrets, which costs time for each
_MAX_SHORT = 60  # characters of a text that a message quotes
_MAX_SHOWN = 30  # words that a hint lists
_MAX_KNOWN = 200
"""The number of known words that are compared, so that a hostile spec costs little time."""
_ALIASES = {
    "gpu": ("cuda",), "nvidia": ("cuda",),
    "float": ("float32",), "double": ("float64",), "half": ("float16",), "fp16": ("float16",), "fp32": ("float32",),
    "fp64": ("float64",), "bf16": ("bfloat16",), "int": ("int64", "int32"), "boolean": ("bool",), "str": ("string",),
    "text": ("string",), "int8": ("int8-static", "int8-dynamic"), "int4": ("int4-weights",),
    "scikit-learn": ("sklearn",), "tensorflow": ("keras",),
}  # fmt: skip
"""Words of other tools, each with what it is here: the likeliest spelling is often another word (gpu, cpu)."""


def suggest_closest(word: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown word: ``did you mean 'x'?``, or else the known words."""
    known = list(known)
    match = find_similar(word, known)
    rest = ", …" if len(known) > _MAX_SHOWN else ""
    return f"did you mean '{match}'?" if match else f"known: {', '.join(known[:_MAX_SHOWN])}{rest}"


def find_similar(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that ``word`` is likely a misspelling of, if any."""
    matches = difflib.get_close_matches(word, islice(known, _MAX_KNOWN), n=1, cutoff=0.6)
    return matches[0] if matches else None


def suggest_choices(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the known words, quoted, that ``word`` likely means; none if nothing is close."""
    known = list(known)
    found = [alias for alias in _ALIASES.get(word.lower(), ()) if alias in known]
    if not found and (match := find_similar(word, known)):
        found = [match]
    return tuple(f"'{match}'" for match in found)


def format_path(path: Path) -> str:
    """Format a field's path as ``inputs.x.shape[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shorten(part)}" if text else shorten(part)
    return text or "the spec"


def suggest_quotes(text: str) -> str:
    """Return the hint for a value that needs quotes."""
    return f'quote it: "{text}"' if len(text) <= _MAX_QUOTED else "quote it"


def format_place(path: Path) -> str:
    """Return the words for the place of a missing or unknown field; empty at the top of the spec."""
    return f" in {format_path(path)}" if path else ""


def shorten(text: str) -> str:
    """Shorten a text to 60 printable characters for a message, and hide secrets in it."""
    # Hidden before it is cut: half a URL is no longer known as one.
    return clean(redact(text[:_MAX_READ]), _MAX_SHORT)


def complete_negation(words: str) -> str:
    """Return the words of a pattern in a form that can follow ``is not``."""
    return words if words.startswith(("a ", "an ")) else f"made of {words}" if "letters" in words else words


def describe_shape(node: Node) -> str:
    """Return the words for a node that has the wrong shape."""
    if isinstance(node, Scalar):
        return f"'{shorten(node.text)}'" if node.text else "empty"
    return "a list" if isinstance(node, Items) else "a mapping"


def describe_kind(kind: Any) -> str:
    """Return the words for a scalar type."""
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
