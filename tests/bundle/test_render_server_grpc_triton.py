"""Triton's extensions over gRPC; its own client reads them in tests/clients."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bundle_examples import VARIANTS, write_modules

Load = Callable[..., ModuleType]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    write_modules(tmp_path, VARIANTS["grpc"][0])
    return tmp_path


def read(load: Load, app: Path, data: bytes, *numbers: int) -> list[Any]:
    """Return the values of a field of messages inside one another, by their numbers."""
    wire = load(app, "wire")
    found = [memoryview(data)]
    for number in numbers:
        kinds = {number: (wire.LENGTH, wire.VARINT)}
        found = [value for part in found for value in wire.Reader(1000).read(part, kinds).get(number, ())]
    return [bytes(value) for value in found]


def test_the_configuration_is_written_as_a_message(load: Load, app: Path) -> None:
    messages, extensions = load(app, "triton_messages"), load(app, "extensions")
    config, data = extensions.describe_config(), messages.describe_config()
    assert read(load, app, data, 1, 1) == [config["name"].encode()]
    for field, number in (("input", 5), ("output", 6)):
        assert read(load, app, data, 1, number, 1) == [item["name"].encode() for item in config[field]]
        assert read(load, app, data, 1, number, 2) == [
            bytes([messages.DATA_TYPES[item["data_type"]]]) for item in config[field]
        ]
    minus_one = b"\xff" * 9 + b"\1"
    dims = [minus_one if size == -1 else bytes([size]) for item in config["input"] for size in item["dims"]]
    assert read(load, app, data, 1, 5, 4) == dims


def test_every_part_of_a_document_that_triton_has_a_field_for_is_written(load: Load, app: Path) -> None:
    messages, extensions = load(app, "triton_messages"), load(app, "extensions")
    config = extensions.describe_config()
    assert set(config) - set(messages.CONFIG) == {"runtime"}, "it has one, which is empty"
    assert messages.DATA_TYPES["TYPE_FP32"] == 11
    assert messages.DATA_TYPES["TYPE_STRING"] == 13
    index = messages.describe_index()
    assert read(load, app, index, 1, 3) == [b"READY"]
