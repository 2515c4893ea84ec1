"""ONNX files: bytes and fields changed, graphs nested or in circles, tensors and external data that lie."""

import json
import os
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from fuzz_tools import Kind, mutate
from onnx import TensorProto, helper
from onnx_examples import FLOAT, MATMUL, RELU, constant, external_model, make_model

from onnxpack.inspection.draft import Draft
from onnxpack.inspection.graph import onnx_facts
from onnxpack.inspection.onnx_files import look_at_onnx_file
from onnxpack.inspection.show import lines

_INTEGERS = (0, 1, -1, 2, 7, 8, 9, 16, 17, 99, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63))
_TEXTS = ("", "x", "y", "w", "\0", "a\nb", "x" * 3000, "/dev/zero", "../w", "é", "ai.onnx", "Loop", "9" * 5000, "-5")
_ENTRIES: tuple[dict[str, Any], ...] = (
    {"location": "w.bin"}, {"location": "w.bin", "offset": 0, "length": 64}, {"location": "w.bin", "offset": -5},
    {"location": "w.bin", "offset": 10**30, "length": 64}, {"location": "w.bin", "length": 2**62},
    {"location": "../w.bin"},
    {"location": "/dev/zero"}, {"location": "link"}, {"location": "hard"}, {"location": "pipe"}, {"location": "."}, {},
    {"location": "short", "length": 64}, {"location": "w.bin", "offset": "x"}, {"location": "loop/w"},
    {"location": "a\0b"},
    {"location": "w.bin", "offset": -64, "length": 64}, {"location": "x" * 300}, {"location": "w.bin", "length": 0},
    {"location": "w.bin", "offset": "9" * 5000}, {"location": "w.bin", "checksum": "x"}, {"location": "model.onnx"},
)  # fmt: skip


def _inner(nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
    value = helper.make_tensor_value_info("y1", FLOAT, ["b", 4])
    return helper.make_graph(nodes, "inner", [], [value])


@cache
def examples() -> tuple[onnx.ModelProto, ...]:
    """Return small good models of several forms."""
    branch = _inner([helper.make_node("Relu", ["x"], ["y1"])])
    condition = constant("c", np.array(True))
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    text = helper.make_node("Identity", ["x"], ["y"])
    sums = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "w"], ["y"])]
    dropout = helper.make_node("Dropout", ["x"], ["y"], is_test=1)
    stated = helper.make_node("Constant", [], ["w"], value=constant("w"))
    strings = [("x", TensorProto.STRING, ["b"])], [("y", TensorProto.STRING, ["b"])]
    return (
        make_model(RELU), make_model(MATMUL, constants=[constant("w")]), make_model([choice], constants=[condition]),
        make_model([text], *strings), make_model(sums, constants=[constant("w")]), make_model([dropout], opset=1, ir=3),
        make_model([stated, *MATMUL], opset=11, domains={"ai.onnx.ml": 3}),
        make_model([helper.make_node("Custom", ["x"], ["y"], domain="a.b")], domains={"a.b": 1}),
    )  # fmt: skip


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _messages(message: Any) -> list[Any]:
    found = [message]
    for field, value in message.ListFields():
        if field.message_type:
            for item in value if field.is_repeated else [value]:
                found += _messages(item)
    return found


def _change_field(chance: random.Random, model: onnx.ModelProto) -> None:
    message = chance.choice(_messages(model))
    field = chance.choice(message.DESCRIPTOR.fields)
    if chance.randrange(6) == 0:
        message.ClearField(field.name)
        return
    place = getattr(message, field.name)
    if field.message_type:
        if not field.is_repeated:
            place.SetInParent()
        elif place and chance.randrange(2):
            place.add().CopyFrom(chance.choice(place))
        elif place:
            del place[chance.randrange(len(place))]
        else:
            place.add()
        return
    value = _value(chance, field)
    try:
        if not field.is_repeated:
            setattr(message, field.name, value)
        elif place and chance.randrange(2):
            place[chance.randrange(len(place))] = value
        else:
            place.append(value)
    except (ValueError, TypeError):  # a number that the field has no room for
        message.ClearField(field.name)


def _value(chance: random.Random, field: Any) -> Any:
    match field.cpp_type:
        case field.CPPTYPE_STRING:
            text = chance.choice(_TEXTS)
            return text.encode() if field.type == field.TYPE_BYTES else text
        case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
            return chance.choice((0.0, -1.0, 1e30, float("inf"), float("nan")))
        case field.CPPTYPE_ENUM:
            return chance.choice(tuple(value.number for value in field.enum_type.values))
    return chance.choice(_INTEGERS)


def _field(number: int, data: bytes) -> bytes:
    size, head = len(data), bytearray([number << 3 | 2])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes(head) + bytes([size]) + data


def nested_model(depth: int) -> bytes:
    """Return a model whose graph holds a node with a graph that holds one, and so on; protobuf would not write it."""
    graph = make_model(RELU).graph.SerializeToString()
    for _ in range(depth):
        attribute = _field(1, b"then_branch") + _field(6, graph) + b"\xa0\x01\x05"
        node = _field(1, b"c") + _field(2, b"y") + _field(4, b"If") + _field(5, attribute)
        graph = _field(1, node) + _field(2, b"g") + make_model(RELU).graph.SerializeToString()
    model = make_model([])
    model.ClearField("graph")
    return model.SerializeToString() + _field(7, graph)


def broken_text(data: bytes, word: bytes) -> bytes:
    """Return a model in which a word is no UTF-8 any more; protobuf reads it, and fails when somebody looks."""
    return data.replace(word, b"\xff" * len(word))


def _circle(chance: random.Random) -> onnx.ModelProto:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Add", ["a", chance.choice("aby")], ["b"])]
    return make_model([*nodes, helper.make_node("Relu", ["b"], ["y"])])


def _odd_tensor(chance: random.Random) -> onnx.ModelProto:
    tensor = constant("w")
    tensor.data_type = chance.choice((0, 1, 1, 4, 8, 14, 16, 17, 22, 23, 25, 26, 99, -1))
    tensor.dims[:] = chance.choice(([4, 4], [4], [], [-4, -4], [2**62, 2**62], [2**62, 0], [10**6, 10**6], [1] * 300))
    tensor.raw_data = bytes(chance.choice((0, 1, 63, 64, 65, 1000)))
    return make_model(MATMUL, constants=[tensor])


def _external(chance: random.Random, folder: Path) -> onnx.ModelProto:
    (folder / "w.bin").write_bytes(bytes(64))
    (folder / "short").write_bytes(bytes(10))
    (folder / "link").symlink_to("w.bin")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    if chance.randrange(2):
        (folder / "hard").hardlink_to(folder / "short")
    model = external_model(**chance.choice(_ENTRIES))
    (tensor,) = model.graph.initializer
    if chance.randrange(2):
        tensor.data_type = chance.choice((0, 1, 8, 14, 22, 99))
        tensor.dims[:] = chance.choice(([4, 4], [-4, -4], [2**62, 4], [4], [40_000, 40_000]))
    return model


def _wide(chance: random.Random) -> onnx.ModelProto:
    """Make a model with very many dimensions, inputs or operators, all with names of their own."""
    count = chance.choice((30, 300, 3000))
    match chance.randrange(3):
        case 0:
            return make_model(RELU, [("x", FLOAT, [f"{'b' * 60}{number}" for number in range(count)])])
        case 1:
            return make_model(RELU, [(f"x{number}", FLOAT, [f"a.{number}", None]) for number in range(count)])
    return make_model([helper.make_node(f"Op{number}", ["x"], ["y"]) for number in range(count)])


def make_onnx(chance: random.Random, folder: Path) -> None:
    """Write a model that may be good, lie, or be torn."""
    model = _copy(chance.choice(examples()))
    data = b""
    match chance.randrange(12):
        case 0:
            model = _circle(chance)
        case 1:
            model = _odd_tensor(chance)
        case 2:
            model = _external(chance, folder)
        case 3 if chance.randrange(3) == 0:
            model = _wide(chance)
        case 4:
            data = nested_model(chance.choice((1, 10, 20, 24, 30, 60, 200, 1000)))
        case 5:
            data = broken_text(
                model.SerializeToString(), chance.choice((b"x", b"y", b"Relu", b"example", b"w", b"b", b"ai"))
            )
        case 6 | 7 | 8:
            data = mutate(chance, model.SerializeToString(), tuple(one.SerializeToString() for one in examples()))
        case _:
            for _ in range(chance.randint(1, 4)):
                _change_field(chance, model)
    (folder / "model.onnx").write_bytes(data or model.SerializeToString())


def read_facts(folder: Path) -> bool:
    """Look into it as ``inspect`` does."""
    facts = onnx_facts(folder / "model.onnx")
    json.dumps(facts | {"path": ""}, indent=2)
    assert "\n".join(lines(facts)).replace("\n", "").isprintable()
    return True


def read_whole(folder: Path) -> bool:
    """Look into it as ``init`` does, which loads it as a build does."""
    draft = Draft({"onnxpack": 1, "name": "a", "model": {"framework": "onnx", "path": "model.onnx"}})
    drafted = look_at_onnx_file(draft, folder / "drafted.yaml")
    drafted.text()
    return True


ONNX = (
    Kind("onnx head", make_onnx, read_facts, share=6),
    Kind("onnx loaded", make_onnx, read_whole, share=3, native=True, allowance=1000),
)
