"""The layers of a spec: its file, the files that it extends, and what the command line sets.

Layers are merged as nodes, so that each value keeps its place in its own file.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.redact import redact
from onnxpack.core.regular import is_regular
from onnxpack.spec.yaml_nodes import (
    MAX_DEPTH,
    Node,
    Pairs,
    Scalar,
    decode_text,
    parse,
    parse_value,
    read_bytes,
    resolve_links,
)

_SET = "--set"
_EXTENDS = "extends"
_MAX_LAYERS = 20


def is_setting(place: Location) -> bool:
    """Return whether a place is a setting of the command line, and not in a file."""
    return place.file.startswith(f"{_SET} ") or f": {_SET} " in place.file


@dataclass(frozen=True)
class Layers:
    """A spec's document with all of its layers merged, and the files that they were read from."""

    document: Pairs
    files: dict[str, str]
    """The SHA-256 of each file by its path, the spec's own first; one behind a link stands under both names."""


def load_layers(path: Path, root: Path, settings: Sequence[str]) -> Layers:
    """Read a spec's document and merge its defaults and settings into it.

    Raises:
        SpecError: a file cannot be read or parsed, ``extends`` makes a circle or leaves ``root``, a setting is
            not ``path.to.field=value``.
    """
    files: dict[str, str] = {}
    document = _read_layers(path, str(path), root, files)
    for setting in settings:
        document = apply_setting(document, setting, str(path))
    return Layers(document, files)


def _read_layers(path: Path, label: str, root: Path, files: dict[str, str], below: tuple[Path, ...] = ()) -> Pairs:
    data = read_bytes(path, label)
    files[str(Path.cwd() / path)] = hashlib.sha256(data).hexdigest()
    document = parse(decode_text(data, label), label)
    found = [(key, value) for key, value in document.pairs if key.text == _EXTENDS]
    if not found:
        return document
    _, reference = found[0]
    if not isinstance(reference, Scalar) or not reference.text or not reference.text.isprintable():
        raise SpecError(
            Problem("extends must be a file's path", "set it to a path such as ../base.yaml", reference.where)
        )
    base = resolve_links(path.parent / reference.text)
    seen = (*below, resolve_links(path))
    if len(seen) > _MAX_LAYERS:
        raise SpecError(
            Problem(f"more than {_MAX_LAYERS} files extend each other", "merge some of them", reference.where)
        )
    if base in seen:
        raise SpecError(
            Problem(
                f"'{reference.text}' extends this file again", "remove one `extends` of the circle", reference.where
            )
        )
    if not base.is_relative_to(resolve_links(root)):
        raise SpecError(
            Problem(f"'{reference.text}' is outside the project", f"move it below {root.name}/", reference.where)
        )
    if not is_regular(base):
        raise SpecError(
            Problem(
                f"there is no file '{reference.text}'",
                f"correct the path: it is relative to {path.parent}",
                reference.where,
            )
        )
    defaults = _read_layers(base, os.path.normpath(Path(label).parent / reference.text), root, files, seen)
    files[str(Path.cwd() / path.parent / reference.text)] = files[str(base)]  # links on the way may lead elsewhere
    own = Pairs(
        document.where, tuple(pair for pair in document.pairs if pair[0].text != _EXTENDS or pair not in found[:1])
    )
    return merge_pairs(own, defaults)


def merge_pairs(top: Pairs, defaults: Pairs) -> Pairs:
    """Return ``top`` with what it lacks taken from ``defaults``: mappings merge, everything else replaces."""
    # Of duplicate keys the first counts here; the decoder reports the others.
    lower = {key.text: value for key, value in reversed(defaults.pairs)}
    own = {key.text for key, _ in top.pairs}
    pairs = [
        (
            key,
            merge_pairs(value, base)
            if isinstance(value, Pairs) and isinstance(base := lower.get(key.text), Pairs)
            else value,
        )
        for key, value in top.pairs
    ]
    return Pairs(top.where, (*pairs, *(pair for pair in defaults.pairs if pair[0].text not in own)))


def apply_setting(document: Pairs, setting: str, label: str = "") -> Pairs:
    """Return the document with one setting ``path.to.field=value``, whose value is YAML; ``label`` names the spec.

    Raises:
        SpecError: it is not written like that, or a part of the path is not a mapping.
    """
    where = Location(f"{label}: {_SET} {redact(setting)}" if label else f"{_SET} {redact(setting)}")
    path, equals, text = setting.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise SpecError(
            Problem("a setting has the form path.to.field=value", "use for example --set version=1.4.1", where)
        )
    if len(keys) > MAX_DEPTH:
        raise SpecError(
            Problem(f"nested more than {MAX_DEPTH} deep", "shorten the path: no field of a spec is so deep", where)
        )
    return _put(document, keys, parse_value(text, where), where)


def _put(node: Node | None, keys: list[str], value: Node, where: Location) -> Pairs:
    if node is not None and not isinstance(node, Pairs):
        raise SpecError(
            Problem(f"'{keys[0]}' cannot be set: what is above it is not a mapping", "correct the field's path", where)
        )
    pairs = node.pairs if node else ()
    name, rest = keys[0], keys[1:]
    old = next((item for key, item in pairs if key.text == name), None)
    new = _put(old, rest, value, where) if rest else value
    kept = tuple((key, new if key.text == name else item) for key, item in pairs)
    return Pairs(node.where if node else where, kept if old else (*kept, (Scalar(where, name, True), new)))
