"""The quick reader takes a request only where the careful one reads the same of it."""

import json
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from serving import request

NUMBERS = (0, -0.0, 1, -1, 0.1, 1e30, 1e39, -1e39, 1e-50, 2**31, 2**63, -(2**63), 2**64, 10**400, 16777217, True)
WORDS = (
    "NaN",
    "Infinity",
    "1e999",
    "-0",
    "1E5",
    "nul",
    "tru",
    '"a"',
    "null",
    "[]",
    "{}",
    '"\\ud800"',
    '"\u00e9:"',
    "0x1",
)
KEYS = ("name", "datatype", "shape", "data", "parameters", "inputs", "outputs", "id", "x:y")


def mutate(chance: random.Random) -> bytes:
    """Return a request with some mistakes, or none."""
    document = request()
    if chance.random() < 0.3:
        document["id"] = chance.choice(["a", "", "a:b", "true", None, 5, "\ud800"])
    batch, seq = chance.randrange(1, 3), chance.randrange(0, 4)
    for item, tail in zip(document["inputs"], ([6], [20], []), strict=True):
        shape = [batch, seq, *tail]
        item["shape"] = shape
        values = [chance.choice(NUMBERS) if chance.random() < 0.02 else 1 for _ in range(int(np.prod(shape)))]
        item["data"] = np.array(values, object).reshape(shape).tolist() if chance.random() < 0.3 else values
    for _ in range(chance.choice([0, 0, 1, 2])):
        items = document.get("inputs")
        inputs: list[Any] = items if isinstance(items, list) else []
        target = chance.choice([document, *(item for item in inputs if isinstance(item, dict))])
        match chance.randrange(5):
            case 0:
                target[chance.choice(KEYS)] = chance.choice([None, 1, "FP32", [], [1], {}, True, 1.0])
            case 1:
                target.pop(chance.choice(KEYS), None)
            case 2:
                chance.shuffle(inputs)
            case 3 if isinstance(target.get("shape"), list) and target["shape"]:
                target["shape"][chance.randrange(len(target["shape"]))] = chance.choice(
                    [0, -1, 2**60, 1.0, True, "1", 65]
                )
            case 4 if inputs:
                inputs.append(chance.choice(inputs))
    text = json.dumps(document)
    if chance.random() < 0.3:
        at = chance.randrange(len(text))
        text = (
            text[:at]
            + chance.choice([*WORDS, ",", ":", '"name":"dates",', '"id":"z",', ""])
            + text[at + chance.randrange(2) :]
        )
    return text.encode(errors="surrogatepass")


def read(reader: Callable[[bytes], Any], body: bytes) -> tuple[dict[str, Any], str | None] | None:
    """Return what a reader makes of a body, or None."""
    try:
        return reader(body)
    except ValueError:
        return None


def test_what_is_read_quickly_is_what_the_careful_reader_reads(
    load: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol, quick = load("transactions", "protocol"), load("transactions", "quick")
    quickly, chance, taken = quick.read, random.Random(7), 0
    monkeypatch.setattr(quick, "read", lambda body: None)  # so that the protocol reads carefully
    for _ in range(4000):
        body = mutate(chance)
        found = read(quickly, body)
        if found is None:
            continue
        taken += 1
        call = protocol.read(body)
        assert call.id == found[1]
        assert set(call.binary.values()) == {False}
        assert call.arrays.keys() == found[0].keys()
        for name, array in call.arrays.items():
            other = found[0][name]
            assert (array.dtype, array.shape, array.tobytes()) == (other.dtype, other.shape, other.tobytes()), body
    assert taken > 300, "many requests without a mistake are read quickly"


@pytest.mark.parametrize("key", ["name", "datatype", "shape", "data"])
def test_a_key_that_is_there_twice_is_not_read_quickly(load: Callable[..., ModuleType], key: str) -> None:
    quick = load("transactions", "quick")
    text = json.dumps(request())
    assert quick.read(text.encode())
    item = request()["inputs"][0]
    twice = text.replace(f'"{key}": ', f'"{key}": {json.dumps(item[key])}, "{key}": ', 1)
    assert quick.read(twice.encode()) is None


def test_large_bodies_and_requests_with_wishes_are_not_read_quickly(load: Callable[..., ModuleType]) -> None:
    quick = load("transactions", "quick")
    for body in (
        json.dumps(request(outputs=[{"name": "score"}])),
        json.dumps(request(parameters={})),
        json.dumps(request(id=None)),
        json.dumps(request()) + " " * quick.MAX_BODY,
        json.dumps(request()).replace("0.5", "true"),
        "[]",
        "",
        "null",
    ):
        assert quick.read(body.encode()) is None, body[:200]
