"""YAML text → a small tree of nodes that know where they stand.

The tree is built from the parser's events, so nothing is ever constructed from a tag, an alias cannot be followed,
and depth and size are bounded before any memory is spent. Scalars stay text: what they mean is decided by the
field's type (``onnxpack.spec.decode``), not by YAML 1.1's guesses.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from onnxpack.errors import Location, Problem, SpecError

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Scalar:
    """A leaf; ``plain`` means that it stands without quotes."""

    where: Location
    text: str
    plain: bool


@dataclass(frozen=True)
class Items:
    """A YAML sequence."""

    where: Location
    items: "tuple[Node, ...]"


@dataclass(frozen=True)
class Pairs:
    """A YAML mapping: its pairs as they stand, duplicates included."""

    where: Location
    pairs: "tuple[tuple[Scalar, Node], ...]"


Node = Scalar | Items | Pairs


def read_text(path: Path, label: str) -> str:
    """The text of a regular file of at most 1 MiB of UTF-8.

    Raises:
        SpecError: it is missing, not a regular file, too large, or not UTF-8.
    """
    where = Location(label)
    try:
        # Not blocking, so that a FIFO is refused instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise SpecError(Problem(f"cannot read it: {error.strerror}", "check the path", where)) from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SpecError(Problem("it is not a regular file", "give the path of a YAML file", where))
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SpecError(Problem(f"it has {status.st_size} bytes, a spec at most {MAX_BYTES}", "", where))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise SpecError(
            Problem("it is not UTF-8 text", "save the file as UTF-8", Location(label, line, column))
        ) from None


def parse(text: str, label: str) -> Pairs:
    """The one mapping that a spec is.

    Raises:
        SpecError: broken YAML, more than one document, an anchor, alias or tag, too deep, or not a mapping.
    """
    try:
        root = _tree(_Events(text, label))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Location(label, mark.line + 1, mark.column + 1) if mark else Location(label)
        what = error.problem or error.context or "it cannot be parsed"
        raise SpecError(Problem(f"not valid YAML: {what}", "check indentation, quotes and colons", where)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise SpecError(
            Problem("a control character stands here", "remove it", Location(label, line, column))
        ) from None
    if not isinstance(root, Pairs):
        raise SpecError(Problem("a spec is a mapping at its top", "start with `onnxpack: 1`", Location(label, 1, 1)))
    return root


class _Events:
    """The parser's events, with everything that a spec may not contain refused on sight."""

    def __init__(self, text: str, label: str) -> None:
        self.label = label
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._documents = 0

    def where(self, event: Any) -> Location:
        return Location(self.label, event.start_mark.line + 1, event.start_mark.column + 1)

    def __iter__(self) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    raise self._refused(event, "a second YAML document starts here", "one file is one spec")
            elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise self._refused(event, "anchors and aliases are not allowed in a spec", "write the value out")
            elif getattr(event, "tag", None) not in (None, "!"):
                raise self._refused(event, f"the tag {event.tag} is not allowed in a spec", "remove it")
            else:
                yield event

    def _refused(self, event: Any, message: str, hint: str) -> SpecError:
        return SpecError(Problem(message, hint, self.where(event)))


def _tree(events: _Events) -> Node | None:
    """The tree of the events; a stack of open collections, so that depth costs no recursion."""
    opened: list[tuple[Any, list[Node]]] = []
    root: Node | None = None
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            if len(opened) >= MAX_DEPTH:
                raise SpecError(Problem(f"nested more than {MAX_DEPTH} deep", "flatten it", events.where(event)))
            opened.append((event, []))
            continue
        if isinstance(event, yaml.ScalarEvent):
            node: Node = Scalar(events.where(event), event.value, not event.style)
        elif isinstance(event, yaml.CollectionEndEvent):
            start, children = opened.pop()
            node = _collection(events.where(start), start, children)
        else:
            continue
        if opened:
            opened[-1][1].append(node)
        else:
            root = node
    return root


def _collection(where: Location, start: Any, children: list[Node]) -> Node:
    if isinstance(start, yaml.SequenceStartEvent):
        return Items(where, tuple(children))
    pairs = []
    for key, value in zip(children[::2], children[1::2], strict=True):
        if not isinstance(key, Scalar):
            raise SpecError(Problem("a key must be a word", "write `key: value`", key.where))
        pairs.append((key, value))
    return Pairs(where, tuple(pairs))


def from_plain(value: Any, where: Location) -> Node:
    """JSON values as nodes, all standing at ``where``: a spec that was decoded once, on its way to a child process."""
    if isinstance(value, dict):
        return Pairs(where, tuple((Scalar(where, key, False), from_plain(item, where)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return Items(where, tuple(from_plain(item, where) for item in value))
    if isinstance(value, str):
        return Scalar(where, value, False)
    words = {None: "null", True: "true", False: "false"}
    return Scalar(where, words[value] if value is None or isinstance(value, bool) else repr(value), True)
