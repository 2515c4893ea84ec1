"""Decoding of YAML nodes to typed values by the model's annotations; every problem is collected."""

import math
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from onnxpack.core.errors import Location, Problem
from onnxpack.spec.constraints import Between, Duration, Later, Pattern, Size
from onnxpack.spec.messages import (
    Path,
    complete_negation,
    describe_kind,
    describe_shape,
    find_similar,
    format_path,
    format_place,
    shorten,
    suggest_choices,
    suggest_closest,
    suggest_quotes,
)
from onnxpack.spec.units import format_duration, format_size, read_duration, read_size
from onnxpack.spec.yaml_nodes import Items, Node, Pairs, Scalar

INVALID: Any = object()
"""The mark of a value that could not be decoded, and whose problem is recorded already."""

NOT_YET = "not supported yet"
MAX_PROBLEMS = 100
_MAX_DIGITS = 40  # longer numbers are refused before they are converted
_MAX_PROPOSAL = 64  # the length of a SHA-256, which is the longest
_PAIRS = "use `key: value` pairs"
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_YAML_WORDS = re.compile(r"(yes|no|on|off|true|false|null|~|)", re.IGNORECASE)
# What YAML 1.1 or 1.2 takes for a number: 0x1F, 0b1, 0o7, 1_000, 12:30 (base 60), 3.10, .5, 1e3, -.inf
_YAML_NUMBERS = re.compile(
    r"[-+]?(0x[0-9a-f_]+|0[bo][0-7_]+|[0-9][0-9_]*(:[0-9]+)*(\.[0-9_]*)?(e[-+]?[0-9]+)?"
    r"|\.[0-9][0-9_]*(e[-+]?[0-9]+)?|\.(inf|nan))",
    re.IGNORECASE,
)


class TooManyProblems(Exception):  # noqa: N818 - not an error of its own: it ends a decoding early
    """The document has more problems than a person would read."""


class Decoder:
    """A decoder of one document, which collects its ``problems`` and the ``places`` of its values."""

    def __init__(self, *, of_json: bool = False) -> None:
        """Decode YAML, or nodes of ``from_plain`` if ``of_json``: there a duration is its number of seconds."""
        self._of_json = of_json
        self.problems: list[Problem] = []
        self.places: dict[Path, Location] = {}
        self.top: dict[str, Any] = {}
        """The top fields, ``INVALID`` ones included, so that the others can still be checked."""

    def decode(self, kind: Any, node: Node, path: Path = ()) -> Any:
        """Decode a node to a value of the annotated type ``kind``; return ``INVALID`` if it is none."""
        self.places.setdefault(path, node.where)
        origin = get_origin(kind)
        if origin is Annotated:
            base, *markers = get_args(kind)
            return self._decode_constrained(base, markers, node, path)
        if origin in (Union, types.UnionType):
            return self._decode_union(get_args(kind), node, path)
        if is_dataclass(kind):
            return self._decode_record(kind, node, path)
        if origin is tuple:
            return self._decode_tuple(get_args(kind)[0], node, path)
        if origin is Mapping:
            key_kind, value_kind = get_args(kind)
            return self._decode_mapping(key_kind, value_kind, node, path)
        if kind is Any:
            return self._decode_plain(node, path)
        if not isinstance(node, Scalar):
            hint = "give it a single value"
            return self._add_problem(
                node, f"{format_path(path)} must be {describe_kind(kind)}, not {describe_shape(node)}", hint
            )
        if node.plain and not node.text:
            return self._add_problem(node, f"{format_path(path)} is empty", "give it a value")
        if origin is Literal:
            return self._decode_choice(get_args(kind), node, path)
        return self._decode_scalar(kind, node, path)

    def _add_problem(self, node: Node, message: str, hint: str = "") -> Any:
        self.problems.append(Problem(message, hint, node.where))
        if len(self.problems) > MAX_PROBLEMS:
            raise TooManyProblems
        return INVALID

    def _decode_constrained(self, base: Any, markers: list[Any], node: Node, path: Path) -> Any:
        for marker in markers:
            if isinstance(marker, Size):
                return self._decode_size(marker, node, path)
            if isinstance(marker, Duration):
                return self._decode_duration(marker, node, path)
        value = self.decode(base, node, path)
        if value is INVALID:
            return value
        for marker in markers:
            if isinstance(marker, Pattern) and not re.fullmatch(marker.regex, value, re.DOTALL):
                return self._add_mismatch(marker, node, path, value)
            if isinstance(marker, Between) and not marker.low <= value <= marker.high:
                if marker.low == marker.high:
                    hint = f"set `{path[-1]}: {marker.low}`"
                    return self._add_problem(node, f"{format_path(path)} must be {marker.low}, not {value}", hint)
                return self._add_problem(node, f"{format_path(path)}: {value} is outside {marker.low} to {marker.high}")
            if isinstance(marker, Later) and value in marker.values:
                ready = [str(choice) for choice in get_args(base) if choice not in marker.values]
                # It stays a value, so that what it needs is checked already.
                self._add_problem(node, f"{format_path(path)}: '{value}' is {NOT_YET}", f"use {' or '.join(ready)}")
        return value

    def _add_mismatch(self, marker: Pattern, node: Node, path: Path, value: str) -> Any:
        if "${" in value:
            in_list = any(isinstance(part, int) for part in path)  # --set has no words for an item of a list
            hint = "put the value itself there" + f", or use --set {format_path(path)}=VALUE" * (not in_list)
            text = f"{format_path(path)}: ${{…}} is not replaced: a spec means the same on every machine"
            return self._add_problem(node, text, hint)
        proposal = marker.repair(value) if marker.repair else ""
        # It is shown whole, to be copied.
        fits = len(proposal) <= _MAX_PROPOSAL and re.fullmatch(marker.regex, proposal, re.DOTALL)
        hint = f"did you mean '{proposal}'?" if fits else marker.hint
        return self._add_problem(
            node, f"{format_path(path)}: '{shorten(value)}' is not {complete_negation(marker.words)}", hint
        )

    def _decode_size(self, marker: Size, node: Node, path: Path) -> Any:
        value = read_size(node.text) if isinstance(node, Scalar) else None
        if value is None:
            return self._add_problem(
                node, f"{format_path(path)} must be a size", "use a number with a unit, such as 64MiB or 150MB"
            )
        if not marker.low <= value <= marker.high:
            limits = f"{format_size(marker.low)} to {format_size(marker.high)}"
            return self._add_problem(node, f"{format_path(path)}: {format_size(value)} is outside {limits}")
        return value

    def _decode_duration(self, marker: Duration, node: Node, path: Path) -> Any:
        if self._of_json and isinstance(node, Scalar):
            return float(node.text)
        value = read_duration(node.text) if isinstance(node, Scalar) else None
        if value is None:
            hint = "use a number with a unit (us, ms, s, m or h), such as 2s or 5ms"
            return self._add_problem(node, f"{format_path(path)} must be a duration", hint)
        if not marker.low <= value <= marker.high:
            limits = f"{format_duration(marker.low)} to {format_duration(marker.high)}"
            return self._add_problem(node, f"{format_path(path)}: {format_duration(value)} is outside {limits}")
        return value

    def _decode_union(self, kinds: tuple[Any, ...], node: Node, path: Path) -> Any:
        """Decode a node to the first of several types that fits; if none does, record the problem of the likeliest.

        The model lists types of numbers first and those of words last.
        """
        attempts = []
        for kind in (kind for kind in kinds if kind is not types.NoneType):
            # A decoder of its own for each type: its problems count only if no type fits.
            attempts.append(attempt := Decoder(of_json=self._of_json))
            value = attempt.decode(kind, node, path)
            if not attempt.problems:
                self.places.update(attempt.places)
                return value
        number = isinstance(node, Scalar) and node.plain and _YAML_NUMBERS.fullmatch(node.text)
        near = [attempt for attempt in attempts if attempt.problems[0].hint.startswith("did you mean")]
        self.problems += (near or [attempts[0 if number else -1]])[0].problems
        return INVALID

    def _decode_record(self, kind: Any, node: Node, path: Path) -> Any:
        known = list_fields(kind)
        shorthand: tuple[str, ...] = getattr(kind, "shorthand", ())
        if isinstance(node, Items) and len(node.items) == len(shorthand) > 0:
            keys = [Scalar(item.where, name, True) for name, item in zip(shorthand, node.items, strict=True)]
            node = Pairs(node.where, tuple(zip(keys, node.items, strict=True)))
        if not isinstance(node, Pairs):
            hint = f"use [{', '.join(shorthand)}] or {{{', '.join(f'{name}: …' for name in known)}}}"
            return self._add_problem(
                node,
                f"{format_path(path)} must be a mapping, not {describe_shape(node)}",
                hint if shorthand else _PAIRS,
            )
        values: dict[str, Any] = {}
        if not path:
            self.top = values
        for key, value in self._iterate_unique(node):
            if key.text not in known:
                self._add_problem(
                    key, f"unknown field '{shorten(key.text)}'{format_place(path)}", suggest_closest(key.text, known)
                )
                # The field that was meant is neither missing nor at its default: nothing can be said of it.
                if name := find_similar(key.text, known):
                    values.setdefault(name, INVALID)
                continue
            definition, annotation = known[key.text]
            if definition.metadata.get("later"):
                self._add_problem(key, f"{format_path((*path, key.text))} is {NOT_YET}", "remove it")
            values[key.text] = self.decode(annotation, value, (*path, key.text))
        for name, (definition, _) in known.items():
            if name not in values and definition.default is MISSING and definition.default_factory is MISSING:
                self._add_problem(
                    node, f"'{name}' is missing{format_place(path)}", f"add `{name}:`. {definition.metadata['doc']}"
                )
                values[name] = INVALID
        return INVALID if INVALID in values.values() else kind(**values)

    def _iterate_unique(self, node: Pairs) -> Iterable[tuple[Scalar, Node]]:
        seen: dict[str, Scalar] = {}
        for key, value in node.pairs:
            first = seen.setdefault(key.text, key)
            if first is key:
                yield key, value
            else:
                self._add_problem(
                    key, f"duplicate key '{shorten(key.text)}'", f"line {first.where.line} has it too: remove one"
                )

    def _decode_tuple(self, kind: Any, node: Node, path: Path) -> Any:
        if not isinstance(node, Items):
            return self._add_problem(
                node, f"{format_path(path)} must be a list, not {describe_shape(node)}", "use a list, such as [a, b]"
            )
        values = tuple(self.decode(kind, item, (*path, index)) for index, item in enumerate(node.items))
        return INVALID if INVALID in values else values

    def _decode_mapping(self, key_kind: Any, kind: Any, node: Node, path: Path) -> Any:
        if not isinstance(node, Pairs):
            return self._add_problem(node, f"{format_path(path)} must be a mapping, not {describe_shape(node)}", _PAIRS)
        values = {}
        for key, value in self._iterate_unique(node):
            name = self.decode(key_kind, key, (*path, key.text))
            values[name] = self.decode(kind, value, (*path, key.text))
        return INVALID if INVALID in values or INVALID in values.values() else values

    def _decode_plain(self, node: Node, path: Path) -> Any:
        """Decode a value of no fixed type (a factory's keyword argument) as YAML 1.2's JSON schema does."""
        if isinstance(node, Items):
            return tuple(self.decode(Any, item, (*path, index)) for index, item in enumerate(node.items))
        if isinstance(node, Pairs):
            return {key.text: self.decode(Any, value, (*path, key.text)) for key, value in self._iterate_unique(node)}
        if not node.plain:
            return node.text
        words = {"true": True, "false": False, "null": None}
        if node.text in words:
            return words[node.text]
        if _INT.fullmatch(node.text) or _FLOAT.fullmatch(node.text):
            whole = _INT.fullmatch(node.text) and len(node.text) <= _MAX_DIGITS
            number = int(node.text) if whole else float(node.text)
            if (_INT.fullmatch(node.text) and not whole) or not math.isfinite(number):
                return self._add_problem(
                    node, f"{format_path(path)}: {shorten(node.text)} is too large", "quote it if it is text"
                )
            return number
        if not node.text:
            return self._add_problem(node, f"{format_path(path)} is empty", 'use null, or "" for an empty text')
        if _YAML_WORDS.fullmatch(node.text) or _YAML_NUMBERS.fullmatch(node.text):
            message = f"{format_path(path)}: what {shorten(node.text)} means depends on the YAML reader"
            return self._add_problem(
                node, message, f"{suggest_quotes(node.text)}, or use true, false, null or a decimal number"
            )
        return node.text

    def _decode_choice(self, choices: tuple[Any, ...], node: Scalar, path: Path) -> Any:
        if node.text not in choices:
            near = suggest_choices(node.text, choices)
            hint = f"did you mean {' or '.join(near)}? " * bool(near) + f"known: {', '.join(choices)}"
            if node.plain and _YAML_NUMBERS.fullmatch(node.text):
                hint += "; put it in quotes, else it is a number"
            return self._add_problem(node, f"{format_path(path)}: unknown '{shorten(node.text)}'", hint)
        return self._decode_scalar(str, node, path)

    def _decode_scalar(self, kind: Any, node: Scalar, path: Path) -> Any:
        text = node.text
        if kind is str:
            # YAML 1.1 readers would make something else of these words, so the meaning depends on the reader.
            if node.plain and (_YAML_WORDS.fullmatch(text) or _YAML_NUMBERS.fullmatch(text)):
                return self._add_problem(
                    node, f"{format_path(path)} must be text, and {shorten(text)} is not", suggest_quotes(text)
                )
            return text
        if kind is bool:
            if node.plain and text in ("true", "false"):
                return text == "true"
            hint = "remove the quotes" if text in ("true", "false") else "use true or false"
            return self._add_problem(node, f"{format_path(path)}: '{shorten(text)}' is not a boolean", hint)
        pattern, words = (_INT, "a whole number") if kind is int else (_FLOAT, "a number")
        fits = pattern.fullmatch(text) and len(text) <= _MAX_DIGITS
        if not fits or not node.plain:
            hint = "remove the quotes" if fits else "use decimal digits"
            return self._add_problem(node, f"{format_path(path)}: '{shorten(text)}' is not {words}", hint)
        return kind(text)


@cache
def list_fields(kind: Any) -> dict[str, tuple[Field[Any], Any]]:
    """Map the fields of a spec dataclass to their definitions and annotations, constraints included."""
    hints = get_type_hints(kind, include_extras=True)
    return {definition.name: (definition, hints[definition.name]) for definition in fields(kind)}
