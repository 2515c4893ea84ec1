"""How problems of a spec are put into words: paths, suggestions, and what stands where."""

import difflib
from collections.abc import Iterable
from itertools import islice
from typing import Any

from onnxpack.core.redact import redact
from onnxpack.spec.yaml_nodes import Items, Node, Scalar

Path = tuple[str | int, ...]
"""Where a field is: keys, and numbers of items."""

_MAX_QUOTED = 40
_MAX_READ = 10_000
_MAX_SHOWN = 30
_MAX_KNOWN = 200
"""Of this many known words is the closest one searched, so that a hostile spec costs little time."""


def closest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or the known words when none is close."""
    known = list(known)
    match = meant(word, known)
    rest = ", …" if len(known) > _MAX_SHOWN else ""
    return f"did you mean '{match}'?" if match else f"known: {', '.join(known[:_MAX_SHOWN])}{rest}"


def meant(word: str, known: Iterable[str]) -> str | None:
    """The known word that is so close that ``word`` is likely a slip of it."""
    matches = difflib.get_close_matches(word, islice(known, _MAX_KNOWN), n=1, cutoff=0.6)
    return matches[0] if matches else None


def dotted(path: Path) -> str:
    """A field's path as a person writes it: ``inputs.x.shape[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{short(part)}" if text else short(part)
    return text or "the spec"


def quote_it(text: str) -> str:
    """The cure for what stands without quotes."""
    return f'quote it: "{text}"' if len(text) <= _MAX_QUOTED else "quote it"


def inside(path: Path) -> str:
    """Where a field is missing or unknown; nothing at the top."""
    return f" in {dotted(path)}" if path else ""


def short(text: str) -> str:
    """Return at most 60 printable characters of a text for a message, secrets hidden."""
    # Hidden before it is cut: half a URL is no longer known as one.
    start = redact(text[:_MAX_READ])
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in start[:61])
    return printable if len(printable) <= 60 else printable[:57] + "..."


def article(words: str) -> str:
    """The words of a pattern so that they can follow `is not`."""
    return words if words.startswith(("a ", "an ")) else f"made of {words}" if "letters" in words else words


def shape_of(node: Node) -> str:
    """What stands where something else should."""
    if isinstance(node, Scalar):
        return f"'{short(node.text)}'" if node.text else "empty"
    return "a list" if isinstance(node, Items) else "a mapping"


def kind_words(kind: Any) -> str:
    """What a scalar type is called."""
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
