"""Parsing of YAML text to a small tree of nodes that know their places.

The tree is built from the parser's events, so nothing is ever constructed from a tag, an alias cannot be followed,
and depth and size are bounded before any memory is spent. Scalars stay text: what they mean is decided by the
field's type (``onnxpack.spec.decode``), not by YAML 1.1's guesses.
"""

import codecs
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from onnxpack.core.errors import Location, Problem, SpecError

# Far more than a person writes into a spec, and little enough that a hostile one costs no time.
MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_VALUES = 20_000
_UNFIT = re.compile(
    "[^\t\n\r\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd\\U00010000-\\U0010ffff]"
)
"""Control characters, and characters that only some readers take for a line's end or a byte order mark."""
_SURROGATE = re.compile("[\\ud800-\\udfff]")
# libyaml's parser, if PyYAML was built with it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Scalar:
    """A YAML scalar; ``plain`` means without quotes."""

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
    """A YAML mapping: its pairs in the file's order, duplicates included."""

    where: Location
    pairs: "tuple[tuple[Scalar, Node], ...]"


Node = Scalar | Items | Pairs


def read_bytes(path: Path, label: str) -> bytes:
    """Return the bytes of a regular file of at most 1 MiB.

    Raises:
        SpecError: it is missing, not a regular file, or too large.
    """
    where = Location(label)
    try:
        # Not blocking, so that a FIFO is refused instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise SpecError(Problem(f"cannot read it: {error.strerror}", "correct the path", where)) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise SpecError(Problem("it is not a regular file", "give the path of a YAML file", where))
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SpecError(
            Problem(f"it has {status.st_size} bytes, a spec at most {MAX_BYTES}", "keep data in separate files", where)
        )
    return data


def decode_text(data: bytes, label: str) -> str:
    """Return the text of a file's bytes.

    Raises:
        SpecError: they are not UTF-8.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        place = _place(data[: error.start].decode(), label)
        raise SpecError(Problem("it is not UTF-8 text", "save the file as UTF-8", place)) from None


def resolve_links(path: Path) -> Path:
    """Return the absolute path with all links followed; for a circle of links, a path that cannot be read."""
    return Path(os.path.realpath(path))  # before Python 3.13, Path.resolve raises RuntimeError for a circle


def parse(text: str, label: str) -> Pairs:
    """Parse the text of a spec, which is one mapping.

    Raises:
        SpecError: broken YAML, more than one document, an anchor, alias, merge or tag, too deep, too many values, or
            not a mapping.
    """
    root = _parse_document(text, label)
    if root is None:
        raise SpecError(Problem("the file is empty", "start with `onnxpack: 1`", Location(label)))
    if not isinstance(root, Pairs):
        raise SpecError(Problem("a spec must be a mapping at its top", "start with `onnxpack: 1`", root.where))
    return root


def parse_value(text: str, where: Location) -> Node:
    """Parse a YAML value from the command line; all its nodes get the place ``where``.

    Raises:
        SpecError: as ``parse``.
    """
    try:
        found = _parse_document(text, where.file)
    except SpecError as error:
        raise SpecError([replace(problem, where=where) for problem in error.problems]) from None
    return _place_at(found, where) if found else Scalar(where, "", True)


def _place_at(node: Node, where: Location) -> Node:
    if isinstance(node, Scalar):
        return Scalar(where, node.text, node.plain)
    if isinstance(node, Items):
        return Items(where, tuple(_place_at(item, where) for item in node.items))
    return Pairs(where, tuple((Scalar(where, key.text, key.plain), _place_at(item, where)) for key, item in node.pairs))


def _parse_document(text: str, label: str) -> Node | None:
    unfit = _UNFIT.search(text)
    if unfit:
        place = _place(text[: unfit.start()], label)
        raise SpecError(Problem(f"there is a control character here, U+{ord(unfit[0]):04X}", "remove it", place))
    try:
        return _build_tree(_Events(text, label))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Location(label, mark.line + 1, mark.column + 1) if mark else Location(label)
        what = error.problem or error.context or "it cannot be parsed"
        at_tab = mark and "".join(text.split("\n")[mark.line : mark.line + 1])[mark.column :].startswith("\t")
        hint = "replace this tab: indent with spaces" if at_tab else "check indentation, quotes and colons"
        raise SpecError(Problem(f"not valid YAML: {what}", hint, where)) from None
    except (ValueError, OverflowError) as error:  # PyYAML without libyaml, of a code point or a version too large
        raise SpecError(
            Problem(f"not valid YAML: {error}", "correct escapes and directives", Location(label))
        ) from None


def _place(before: str, label: str) -> Location:
    """Return the place where a text continues after ``before``."""
    return Location(label, before.count("\n") + 1, len(before) - before.rfind("\n"))


class _Events:
    """The parser's events; what a spec may not contain raises an error as soon as it comes."""

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
                    raise self._refusal(event, "a second YAML document starts here", "move it to a file of its own")
            elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise self._refusal(event, "anchors and aliases are not allowed in a spec", "repeat the value instead")
            elif getattr(event, "tag", None) is not None:
                raise self._refusal(event, "tags (`!…`) are not allowed in a spec", "remove it")
            elif isinstance(event, yaml.ScalarEvent) and _SURROGATE.search(event.value):
                raise self._refusal(
                    event, "half of a surrogate pair is not a character", r"use the whole character, such as \U0001F600"
                )
            else:
                yield event

    def _refusal(self, event: Any, message: str, hint: str) -> SpecError:
        return SpecError(Problem(message, hint, self.where(event)))


def _build_tree(events: _Events) -> Node | None:
    """Build the tree of the events, with a stack of open collections instead of recursion."""
    opened: list[tuple[Any, list[Node]]] = []
    root: Node | None = None
    values = 0
    for event in events:
        values += isinstance(event, yaml.NodeEvent)
        if values > MAX_VALUES:
            hint = "keep data in separate files"
            raise SpecError(Problem(f"a spec has at most {MAX_VALUES} values", hint, events.where(event)))
        if isinstance(event, yaml.CollectionStartEvent):
            if len(opened) >= MAX_DEPTH:
                raise SpecError(Problem(f"nested more than {MAX_DEPTH} deep", "use fewer levels", events.where(event)))
            opened.append((event, []))
            continue
        if isinstance(event, yaml.ScalarEvent):
            node: Node = Scalar(events.where(event), event.value, not event.style)
        elif isinstance(event, yaml.CollectionEndEvent):
            start, children = opened.pop()
            node = _make_collection(events.where(start), start, children)
        else:
            continue
        if opened:
            opened[-1][1].append(node)
        else:
            root = node
    return root


def _make_collection(where: Location, start: Any, children: list[Node]) -> Node:
    if isinstance(start, yaml.SequenceStartEvent):
        return Items(where, tuple(children))
    pairs = []
    for key, value in zip(children[::2], children[1::2], strict=True):
        if not isinstance(key, Scalar):
            raise SpecError(Problem("a key must be a word", "use `key: value`", key.where))
        if key.plain and key.text == "<<":
            raise SpecError(
                Problem("merge keys (`<<`) are not allowed in a spec", "repeat the values instead", key.where)
            )
        pairs.append((key, value))
    return Pairs(where, tuple(pairs))


def from_plain(value: Any, where: Location) -> Node:
    """Convert JSON values to nodes at the place ``where``: a decoded spec on its way to a child process."""
    if isinstance(value, dict):
        return Pairs(where, tuple((Scalar(where, key, False), from_plain(item, where)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return Items(where, tuple(from_plain(item, where) for item in value))
    if isinstance(value, str):
        return Scalar(where, value, False)
    words = {None: "null", True: "true", False: "false"}
    return Scalar(where, words[value] if value is None or isinstance(value, bool) else repr(value), True)


def parse_plain(text: str) -> Any:
    """Parse a YAML value to JSON values with PyYAML's own rules for numbers and words."""
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - the loader is a safe one
