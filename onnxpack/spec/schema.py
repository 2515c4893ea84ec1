"""The JSON Schema (draft 2020-12) of the spec, made from the same annotations that the decoder checks."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from onnxpack.spec.constraints import Between, Duration, Later, Pattern, Size
from onnxpack.spec.decode import list_fields
from onnxpack.spec.load import to_plain
from onnxpack.spec.model import Spec
from onnxpack.spec.units import DURATION_UNITS, SIZE_UNITS
from onnxpack.spec.yaml_nodes import parse_plain

_SIZE_PATTERN = rf"^[0-9]+(\.[0-9]+)?\s*({SIZE_UNITS})$"
_DURATION_PATTERN = rf"^[0-9]+(\.[0-9]+)?\s*({DURATION_UNITS})$"
_LATER = "Not supported yet."


def make_schema() -> dict[str, Any]:
    """Return the whole JSON Schema, by which an editor completes and checks specs."""
    definitions: dict[str, Any] = {}
    top = _make_record(Spec, definitions)
    # A file that extends another one may leave to it whatever the other one has.
    required = top.pop("required")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "onnxpack spec",
        **top,
        "if": {"required": ["extends"]},
        "else": {"required": required},
        "$defs": dict(sorted(definitions.items())),
    }


def iterate_records() -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield every dataclass of the spec with its path, outer ones first; ``NAME`` is any key and ``[]`` any item."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(Spec, ())]
    while waiting:
        kind, path = waiting.pop(0)
        yield kind, path
        for name, (_, annotation) in list_fields(kind).items():
            waiting += [(inner, (*path, name, *more)) for inner, more in _find_records(annotation)]


def _find_records(annotation: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield the dataclasses in a type, each with what is added to its path."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if is_dataclass(annotation):
        yield annotation, ()
    elif origin is Mapping:
        yield from ((kind, ("NAME", *path)) for kind, path in _find_records(arguments[1]))
    elif origin is tuple:
        yield from ((kind, ("[]", *path)) for kind, path in _find_records(arguments[0]))
    else:
        parts = arguments[:1] if origin is Annotated else arguments
        yield from (found for part in parts for found in _find_records(part))


def _make_record(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    properties, required = {}, []
    for name, (definition, annotation) in list_fields(kind).items():
        properties[name] = _describe(definition, _make_type(annotation, definitions))
        if definition.default is MISSING and definition.default_factory is MISSING:
            required.append(name)
    return {
        "description": _first_sentence(kind),
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": required,
    }


def _describe(definition: Field[Any], body: dict[str, Any]) -> dict[str, Any]:
    metadata = definition.metadata
    words = f"{_LATER} {metadata['doc']}" if metadata["later"] else metadata["doc"]
    described = {**body, "description": words}
    default = definition.default_factory() if definition.default_factory is not MISSING else definition.default
    if default is not MISSING and default is not None:
        described["default"] = to_plain(default)
    if metadata["example"]:
        described["examples"] = [parse_plain(metadata["example"])]
    return described


def _make_type(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _constrain(arguments[0], arguments[1:], definitions)
    if origin in (Union, types.UnionType):
        parts = [_make_type(part, definitions) for part in arguments if part is not types.NoneType]
        return parts[0] if len(parts) == 1 else {"anyOf": parts}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _make_type(arguments[0], definitions)}
    if origin is Mapping:
        keys = _make_type(arguments[0], definitions)
        body = {"type": "object", "additionalProperties": _make_type(arguments[1], definitions)}
        return body | ({"propertyNames": {"pattern": keys["pattern"]}} if "pattern" in keys else {})
    if is_dataclass(annotation):
        return _make_reference(annotation, definitions)
    words = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return {"type": words[annotation]} if annotation in words else {}


def _make_reference(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = _make_record(kind, definitions)
    reference = {"$ref": f"#/$defs/{name}"}
    shorthand = getattr(kind, "shorthand", None)
    if not shorthand:
        return reference
    fields = list_fields(kind)
    parts = [_make_type(fields[part][1], definitions) for part in shorthand]
    short = {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    return {"anyOf": [reference, short]}


def _constrain(base: Any, markers: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    body = _make_type(base, definitions)
    for marker in markers:
        if isinstance(marker, Pattern):
            body["pattern"] = f"^({marker.regex})$"
        elif isinstance(marker, Between):
            body |= {"minimum": marker.low, "maximum": marker.high}
        elif isinstance(marker, Size):
            body = {"anyOf": [{"type": "integer", "minimum": marker.low}, {"type": "string", "pattern": _SIZE_PATTERN}]}
        elif isinstance(marker, Duration):
            body = {"type": "string", "pattern": _DURATION_PATTERN}
        elif isinstance(marker, Later):
            body["description"] = f"Not supported yet: {', '.join(marker.values)}."
    return body


def _first_sentence(kind: Any) -> str:
    return (kind.__doc__ or "").partition("\n")[0]
