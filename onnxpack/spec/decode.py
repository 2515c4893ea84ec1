"""Nodes → typed values, guided by the model's annotations; every problem is collected, none stops the rest."""

import math
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from onnxpack.errors import Location, Problem
from onnxpack.spec.markers import Between, Duration, Later, Pattern, Size
from onnxpack.spec.nodes import Items, Node, Pairs, Scalar
from onnxpack.spec.wording import Path, article, closest, dotted, inside, kind_words, meant, quote_it, shape_of, short

INVALID: Any = object()
"""Stands for a value that could not be decoded; its problem is already recorded."""

NOT_YET = "not supported yet"
MAX_PROBLEMS = 100
_MAX_DIGITS = 40
_PAIRS = "write `key: value` pairs below it"
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_YAML_WORDS = re.compile(r"(yes|no|on|off|true|false|null|~|)", re.IGNORECASE)
# What YAML 1.1 or 1.2 takes for a number: 0x1F, 0b1, 0o7, 1_000, 12:30 (base 60), 3.10, .5, 1e3, -.inf
_YAML_NUMBERS = re.compile(
    r"[-+]?(0x[0-9a-f_]+|0[bo][0-7_]+|[0-9][0-9_]*(:[0-9]+)*(\.[0-9_]*)?(e[-+]?[0-9]+)?"
    r"|\.[0-9][0-9_]*(e[-+]?[0-9]+)?|\.(inf|nan))",
    re.IGNORECASE,
)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(ms|s|m|h)")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kKMGT]i?)?B?")
_UNITS = {"": 1} | {p: 1000**n for n, p in enumerate("KMGT", 1)} | {f"{p}I": 1024**n for n, p in enumerate("KMGT", 1)}


class TooManyProblems(Exception):  # noqa: N818 - not an error of its own: it ends a decoding early
    """So much is wrong that more of it helps nobody."""


class Decoder:
    """Decodes one document; afterwards ``problems`` has all that is wrong and ``places`` where each value stands."""

    def __init__(self, *, again: bool = False) -> None:
        """``again``: the document is a spec that was decoded once, whose durations are numbers of seconds."""
        self._again = again
        self.problems: list[Problem] = []
        self.places: dict[Path, Location] = {}
        self.top: dict[str, Any] = {}
        """The fields of the whole, ``INVALID`` ones included, so that the others can still be checked."""

    def decode(self, kind: Any, node: Node, path: Path = ()) -> Any:
        """The node as a value of the annotated type ``kind``, or ``INVALID``."""
        self.places.setdefault(path, node.where)
        origin = get_origin(kind)
        if origin is Annotated:
            base, *markers = get_args(kind)
            return self._marked(base, markers, node, path)
        if origin in (Union, types.UnionType):
            return self._union(get_args(kind), node, path)
        if is_dataclass(kind):
            return self._record(kind, node, path)
        if origin is tuple:
            return self._tuple(get_args(kind)[0], node, path)
        if origin is Mapping:
            key_kind, value_kind = get_args(kind)
            return self._mapping(key_kind, value_kind, node, path)
        if kind is Any:
            return self._plain(node, path)
        if not isinstance(node, Scalar):
            hint = "write one value"
            return self._wrong(node, f"{dotted(path)} must be {kind_words(kind)}, not {shape_of(node)}", hint)
        if node.plain and not node.text:
            return self._wrong(node, f"{dotted(path)} is empty", "give it a value")
        if origin is Literal:
            return self._choice(get_args(kind), node, path)
        return self._scalar(kind, node, path)

    def _wrong(self, node: Node, message: str, hint: str = "") -> Any:
        self.problems.append(Problem(message, hint, node.where))
        if len(self.problems) > MAX_PROBLEMS:
            raise TooManyProblems
        return INVALID

    def _marked(self, base: Any, markers: list[Any], node: Node, path: Path) -> Any:
        for marker in markers:
            if isinstance(marker, Size):
                return self._size(marker, node, path)
            if isinstance(marker, Duration):
                return self._duration(marker, node, path)
        value = self.decode(base, node, path)
        if value is INVALID:
            return value
        for marker in markers:
            if isinstance(marker, Pattern) and not re.fullmatch(marker.regex, value, re.DOTALL):
                return self._mismatch(marker, node, path, value)
            if isinstance(marker, Between) and not marker.low <= value <= marker.high:
                if marker.low == marker.high:
                    return self._wrong(node, f"{dotted(path)} must be {marker.low}, not {value}")
                return self._wrong(node, f"{dotted(path)}: {value} is outside {marker.low} to {marker.high}")
            if isinstance(marker, Later) and value in marker.values:
                ready = [str(choice) for choice in get_args(base) if choice not in marker.values]
                # It stays a value, so that what it needs is checked already.
                self._wrong(node, f"{dotted(path)}: '{value}' is {NOT_YET}", f"today: {', '.join(ready)}")
        return value

    def _mismatch(self, marker: Pattern, node: Node, path: Path, value: str) -> Any:
        if "${" in value:
            hint = "write the value, or give it with --set on the command line"
            return self._wrong(node, f"{dotted(path)}: ${{…}} is not replaced, a spec means the same everywhere", hint)
        return self._wrong(node, f"{dotted(path)}: '{short(value)}' is not {article(marker.words)}", marker.hint)

    def _size(self, marker: Size, node: Node, path: Path) -> Any:
        value = read_size(node.text) if isinstance(node, Scalar) else None
        if value is None:
            return self._wrong(node, f"{dotted(path)} must be a size", "write a number with a unit, as 64MiB or 150MB")
        if not marker.low <= value <= marker.high:
            return self._wrong(node, f"{dotted(path)}: {value} bytes is outside {marker.low} to {marker.high}")
        return value

    def _duration(self, marker: Duration, node: Node, path: Path) -> Any:
        if self._again:
            return self.decode(float, node, path)
        match = _DURATION.fullmatch(node.text) if isinstance(node, Scalar) else None
        if not match:
            return self._wrong(node, f"{dotted(path)} must be a duration", "write a number with a unit, as 2s or 5ms")
        value = float(match[1]) * _SECONDS[match[2]]
        if not marker.low <= value <= marker.high:
            return self._wrong(node, f"{dotted(path)}: {value} s is outside {marker.low} to {marker.high}")
        return value

    def _union(self, kinds: tuple[Any, ...], node: Node, path: Path) -> Any:
        """The first alternative that fits. Numbers stand first, words last, and the likelier one tells its problem."""
        attempts = []
        for kind in (kind for kind in kinds if kind is not types.NoneType):
            attempts.append(attempt := Decoder(again=self._again))
            value = attempt.decode(kind, node, path)
            if not attempt.problems:
                self.places.update(attempt.places)
                return value
        number = isinstance(node, Scalar) and node.plain and _YAML_NUMBERS.fullmatch(node.text)
        near = [attempt for attempt in attempts if attempt.problems[0].hint.startswith("did you mean")]
        self.problems += (near or [attempts[0 if number else -1]])[0].problems
        return INVALID

    def _record(self, kind: Any, node: Node, path: Path) -> Any:
        known = described_fields(kind)
        shorthand: tuple[str, ...] = getattr(kind, "shorthand", ())
        if isinstance(node, Items) and len(node.items) == len(shorthand) > 0:
            keys = [Scalar(item.where, name, True) for name, item in zip(shorthand, node.items, strict=True)]
            node = Pairs(node.where, tuple(zip(keys, node.items, strict=True)))
        if not isinstance(node, Pairs):
            hint = f"write [{', '.join(shorthand)}] or {{{', '.join(f'{name}: …' for name in known)}}}"
            return self._wrong(
                node, f"{dotted(path)} must be a mapping, not {shape_of(node)}", hint if shorthand else _PAIRS
            )
        values: dict[str, Any] = {}
        if not path:
            self.top = values
        for key, value in self._unique(node):
            if key.text not in known:
                self._wrong(key, f"unknown field '{short(key.text)}'{inside(path)}", closest(key.text, known))
                # The field that was meant is neither missing nor at its default: nothing can be said of it.
                if name := meant(key.text, known):
                    values.setdefault(name, INVALID)
                continue
            definition, annotation = known[key.text]
            if definition.metadata.get("later"):
                self._wrong(key, f"{dotted((*path, key.text))} is {NOT_YET}", "remove it")
            values[key.text] = self.decode(annotation, value, (*path, key.text))
        for name, (definition, _) in known.items():
            if name not in values and definition.default is MISSING and definition.default_factory is MISSING:
                self._wrong(node, f"'{name}' is missing{inside(path)}", f"add `{name}:`. {definition.metadata['doc']}")
                values[name] = INVALID
        return INVALID if INVALID in values.values() else kind(**values)

    def _unique(self, node: Pairs) -> Iterable[tuple[Scalar, Node]]:
        seen: dict[str, Scalar] = {}
        for key, value in node.pairs:
            first = seen.setdefault(key.text, key)
            if first is key:
                yield key, value
            else:
                self._wrong(key, f"duplicate key '{short(key.text)}'", f"first on line {first.where.line}; keep one")

    def _tuple(self, kind: Any, node: Node, path: Path) -> Any:
        if not isinstance(node, Items):
            return self._wrong(node, f"{dotted(path)} must be a list, not {shape_of(node)}", "write it as [a, b]")
        values = tuple(self.decode(kind, item, (*path, index)) for index, item in enumerate(node.items))
        return INVALID if INVALID in values else values

    def _mapping(self, key_kind: Any, kind: Any, node: Node, path: Path) -> Any:
        if not isinstance(node, Pairs):
            return self._wrong(node, f"{dotted(path)} must be a mapping, not {shape_of(node)}", _PAIRS)
        values = {}
        for key, value in self._unique(node):
            name = self.decode(key_kind, key, (*path, key.text))
            values[name] = self.decode(kind, value, (*path, key.text))
        return INVALID if INVALID in values or INVALID in values.values() else values

    def _plain(self, node: Node, path: Path) -> Any:
        """A value of no fixed type (a factory's keyword argument), read as YAML 1.2's JSON would be."""
        if isinstance(node, Items):
            return tuple(self.decode(Any, item, (*path, index)) for index, item in enumerate(node.items))
        if isinstance(node, Pairs):
            return {key.text: self.decode(Any, value, (*path, key.text)) for key, value in self._unique(node)}
        if not node.plain:
            return node.text
        words = {"true": True, "false": False, "null": None}
        if node.text in words:
            return words[node.text]
        if _INT.fullmatch(node.text) or _FLOAT.fullmatch(node.text):
            whole = _INT.fullmatch(node.text) and len(node.text) <= _MAX_DIGITS
            number = int(node.text) if whole else float(node.text)
            if (_INT.fullmatch(node.text) and not whole) or not math.isfinite(number):
                return self._wrong(node, f"{dotted(path)}: {short(node.text)} is too large", "quote it, if it is text")
            return number
        if not node.text:
            return self._wrong(node, f"{dotted(path)} is empty", 'write null, or "" for an empty text')
        if _YAML_WORDS.fullmatch(node.text) or _YAML_NUMBERS.fullmatch(node.text):
            message = f"{dotted(path)}: what {short(node.text)} means depends on the YAML reader"
            return self._wrong(node, message, f"{quote_it(node.text)}, or write true, false, null or a decimal number")
        return node.text

    def _choice(self, choices: tuple[Any, ...], node: Scalar, path: Path) -> Any:
        if node.text not in choices:
            match = meant(node.text, choices)
            hint = f"did you mean '{match}'? " * bool(match) + f"known: {', '.join(choices)}"
            if node.plain and _YAML_NUMBERS.fullmatch(node.text):
                hint += "; quote it, without quotes it is a number"
            return self._wrong(node, f"{dotted(path)}: unknown '{short(node.text)}'", hint)
        return self._scalar(str, node, path)

    def _scalar(self, kind: Any, node: Scalar, path: Path) -> Any:
        text = node.text
        if kind is str:
            # YAML 1.1 readers would make something else of these words, so the meaning depends on the reader.
            if node.plain and (_YAML_WORDS.fullmatch(text) or _YAML_NUMBERS.fullmatch(text)):
                return self._wrong(node, f"{dotted(path)} must be text, and {short(text)} is not", quote_it(text))
            return text
        if kind is bool:
            if node.plain and text in ("true", "false"):
                return text == "true"
            hint = "remove the quotes" if text in ("true", "false") else "write true or false"
            return self._wrong(node, f"{dotted(path)}: '{short(text)}' is not a boolean", hint)
        pattern, words = (_INT, "a whole number") if kind is int else (_FLOAT, "a number")
        fits = pattern.fullmatch(text) and len(text) <= _MAX_DIGITS
        if not fits or not node.plain:
            hint = "remove the quotes" if fits else "write it in decimal digits"
            return self._wrong(node, f"{dotted(path)}: '{short(text)}' is not {words}", hint)
        return kind(text)


def read_size(text: str) -> int | None:
    """Read a number of bytes, as ``150MB`` or ``64MiB``; None if it is not written like that."""
    match = _SIZE.fullmatch(text)
    return int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else None


@cache
def described_fields(kind: Any) -> dict[str, tuple[Field[Any], Any]]:
    """The fields of a spec dataclass, each with its annotation, markers included."""
    hints = get_type_hints(kind, include_extras=True)
    return {definition.name: (definition, hints[definition.name]) for definition in fields(kind)}
