"""The messages of the protocol's gRPC part, made from its own text, ``open_inference.proto``.

So no generated file has to fit the installed protobuf. The reader knows as much of the language as that text needs.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TEXT = Path(__file__).with_name("open_inference.proto")
_TOKEN = re.compile(r"//[^\n]*|\s+|([\w.]+|.)", re.DOTALL)
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_FIELD, f"TYPE_{name.upper()}")
    for name in ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes")
}
SERVICE = "inference.GRPCInferenceService"


@cache
def load_messages() -> dict[str, Any]:
    """Return the classes of all messages by their names."""
    file = read_proto(_TEXT.read_text(encoding="utf-8"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [message.name for message in file.message_type]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in names
    }


def read_proto(text: str) -> descriptor_pb2.FileDescriptorProto:
    """Return the messages of a text in the language of proto3; services are passed over."""
    file = descriptor_pb2.FileDescriptorProto(name=_TEXT.name, syntax="proto3")
    tokens = (match[1] for match in _TOKEN.finditer(text) if match[1])
    for word in tokens:
        if word == "package":
            file.package = next(tokens)
        elif word == "service":
            _pass_block(tokens)
        elif word == "message":
            _read_message(tokens, file.message_type.add(name=next(tokens)), f".{file.package}")
    return file


def _pass_block(tokens: Iterator[str]) -> None:
    depth = 0
    for word in tokens:
        depth += (word == "{") - (word == "}")
        if word == "}" and depth == 0:
            return


def _read_message(tokens: Iterator[str], message: Any, scope: str) -> None:
    """Read the body of a message: fields, and messages within it, which come before the fields that use them."""
    assert next(tokens) == "{"
    scope = f"{scope}.{message.name}"
    inner: set[str] = set()
    in_oneof = False
    for word in tokens:
        if word == "}":
            if not in_oneof:
                return
            in_oneof = False
        elif word == "message":
            inner.add(name := next(tokens))
            _read_message(tokens, message.nested_type.add(name=name), scope)
        elif word == "oneof":
            message.oneof_decl.add(name=next(tokens))
            assert next(tokens) == "{"
            in_oneof = True
        elif word == "map":
            _read_map(tokens, message, scope)
        else:
            repeated = word == "repeated"
            kind = next(tokens) if repeated else word
            field = _add_field(message, next(tokens), kind, scope if kind in inner else _outer(scope))
            field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            field.number = _read_number(tokens)
            if in_oneof:
                field.oneof_index = len(message.oneof_decl) - 1


def _read_map(tokens: Iterator[str], message: Any, scope: str) -> None:
    """Read a map, which is a list of entries of a key and a value."""
    _, key, _, value, _, name = (next(tokens) for _ in range(6))
    entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
    entry.options.map_entry = True
    for number, (part, kind) in enumerate((("key", key), ("value", value)), 1):
        field = _add_field(entry, part, kind, _outer(scope))
        field.number, field.label = number, _FIELD.LABEL_OPTIONAL
    field = _add_field(message, name, entry.name, scope)
    field.number, field.label = _read_number(tokens), _FIELD.LABEL_REPEATED


def _add_field(message: Any, name: str, kind: str, scope: str) -> Any:
    if kind in _SCALARS:
        return message.field.add(name=name, type=_SCALARS[kind])
    return message.field.add(name=name, type=_FIELD.TYPE_MESSAGE, type_name=f"{scope}.{kind}")


def _outer(scope: str) -> str:
    """Return the scope of messages that are in none: the package."""
    return f".{scope.split('.')[1]}"


def _read_number(tokens: Iterator[str]) -> int:
    equals, number, end = (next(tokens) for _ in range(3))
    assert (equals, end) == ("=", ";")
    return int(number)
