"""One spec out of several layers: the file, the defaults that it extends, and what the command line sets.

Layers are joined as nodes, so that each value keeps the place that it came from.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from onnxpack.errors import Location, Problem, SpecError
from onnxpack.redact import redact
from onnxpack.regular import is_regular
from onnxpack.spec.nodes import MAX_DEPTH, Node, Pairs, Scalar, parse, parse_value, read_text, real

COMMAND_LINE = "--set"
"""How the place of a value begins that stands in no file."""
_EXTENDS = "extends"
_MAX_LAYERS = 20


def layered(path: Path, root: Path, settings: Sequence[str]) -> Pairs:
    """The spec's document with its defaults and settings.

    Raises:
        SpecError: a file cannot be read or parsed, ``extends`` makes a circle or leaves ``root``, a setting is
            not ``path.to.field=value``.
    """
    document = _extended(path, str(path), root, ())
    for setting in settings:
        document = assigned(document, setting)
    return document


def _extended(path: Path, label: str, root: Path, below: tuple[Path, ...]) -> Pairs:
    document = parse(read_text(path, label), label)
    found = [(key, value) for key, value in document.pairs if key.text == _EXTENDS]
    if not found:
        return document
    _, reference = found[0]
    if not isinstance(reference, Scalar) or not reference.text or not reference.text.isprintable():
        raise SpecError(Problem("extends must be a file's path", "as ../base.yaml", reference.where))
    base = real(path.parent / reference.text)
    seen = (*below, real(path))
    if len(seen) > _MAX_LAYERS:
        raise SpecError(Problem(f"more than {_MAX_LAYERS} files extend each other", "join some", reference.where))
    if base in seen:
        raise SpecError(Problem(f"'{reference.text}' extends this file again", "break the circle", reference.where))
    if not base.is_relative_to(real(root)):
        raise SpecError(
            Problem(f"'{reference.text}' leaves the project", f"move it below {root.name}/", reference.where)
        )
    if not is_regular(base):
        raise SpecError(Problem(f"there is no file '{reference.text}'", f"looked in {path.parent}", reference.where))
    defaults = _extended(base, os.path.normpath(Path(label).parent / reference.text), root, seen)
    own = Pairs(
        document.where, tuple(pair for pair in document.pairs if pair[0].text != _EXTENDS or pair not in found[:1])
    )
    return merged(own, defaults)


def merged(top: Pairs, defaults: Pairs) -> Pairs:
    """``top`` with what it lacks from ``defaults``: mappings merge, everything else replaces."""
    lower = {key.text: value for key, value in reversed(defaults.pairs)}
    own = {key.text for key, _ in top.pairs}
    pairs = [
        (
            key,
            merged(value, base)
            if isinstance(value, Pairs) and isinstance(base := lower.get(key.text), Pairs)
            else value,
        )
        for key, value in top.pairs
    ]
    return Pairs(top.where, (*pairs, *(pair for pair in defaults.pairs if pair[0].text not in own)))


def assigned(document: Pairs, setting: str) -> Pairs:
    """The document with one ``path.to.field=value`` put in; the value is read as YAML.

    Raises:
        SpecError: it is not written like that, or a part of the path is not a mapping.
    """
    where = Location(f"{COMMAND_LINE} {redact(setting)}")
    path, equals, text = setting.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise SpecError(Problem("a setting is written path.to.field=value", "as --set image.python='\"3.13\"'", where))
    if len(keys) > MAX_DEPTH:
        raise SpecError(Problem(f"nested more than {MAX_DEPTH} deep", "no field of a spec is that deep", where))
    return _put(document, keys, parse_value(text, where), where)


def _put(node: Node | None, keys: list[str], value: Node, where: Location) -> Pairs:
    if node is not None and not isinstance(node, Pairs):
        raise SpecError(
            Problem(f"there is no field below which '{keys[0]}' could be set", "it is not a mapping", where)
        )
    pairs = node.pairs if node else ()
    name, rest = keys[0], keys[1:]
    old = next((item for key, item in pairs if key.text == name), None)
    new = _put(old, rest, value, where) if rest else value
    kept = tuple((key, new if key.text == name else item) for key, item in pairs)
    return Pairs(node.where if node else where, kept if old else (*kept, (Scalar(where, name, True), new)))
