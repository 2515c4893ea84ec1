"""Expectations that several checks share. Each raises FailedError with what was expected."""

import math
from collections.abc import Mapping
from typing import Any

from onnxpack.conformance.checks import FailedError
from onnxpack.conformance.server import read_object
from onnxpack.conformance.tensors import DATATYPES, flatten, from_bytes
from onnxpack.conformance.wire import Answer

Outputs = Mapping[str, Mapping[str, Any]]
_CLOSE = 1e-5  # between two answers to one request: threads may add in another order
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How servers write in JSON what it has no numbers for."""


def require(condition: object, expected: str) -> None:
    """Fail unless the condition holds."""
    if not condition:
        raise FailedError(f"expected {expected}")


def require_ok(answer: Answer) -> dict[str, Any]:
    """Return the object of an answer that must be a good one."""
    require(answer.status == 200, "200")
    return read_object(answer)


def require_error(answer: Answer) -> None:
    """Expect an error of the protocol: a status of 400 or more, and an object that says why."""
    require(answer.status >= 400, 'an error status and {"error": "why"}')
    error = read_object(answer).get("error")
    require(isinstance(error, str) and error, '{"error": "why"} with the error status')


def require_refusal(answer: Answer) -> None:
    """Expect an error that is said to be the client's."""
    require(400 <= answer.status < 500, "4xx")


def require_no_failure(answer: Answer) -> None:
    """Expect a good answer or an error that is said to be the client's."""
    require(answer.status == 200 or 400 <= answer.status < 500, "200 or 4xx")


def require_output(name: str, output: Mapping[str, Any], *, binary: bool = False) -> None:
    """Expect an output of the right form."""
    shape = output.get("shape")
    require(output.get("datatype") in (*DATATYPES, "BF16"), f"a datatype of the protocol for {name!r}")
    sizes = shape if isinstance(shape, list) else [-1]
    require(all(type(size) is int and size >= 0 for size in sizes), f"a list of sizes as the shape of {name!r}")
    if not binary:
        require(isinstance(output.get("data"), list), f"a list as the data of {name!r}")
        count = sum(1 for _ in flatten(output["data"]))
        require(count == math.prod(sizes), f"{math.prod(sizes)} elements of {name!r}, and there are {count}")


def require_same(outputs: Outputs, expected: Outputs) -> None:
    """Expect the outputs of another answer to the same request."""
    require(list(outputs) == list(expected), f"the outputs {list(expected)}")
    for name, output in outputs.items():
        require_same_values(name, list(flatten(output.get("data"))), list(flatten(expected[name].get("data"))))


def require_same_values(name: str, values: list[Any], expected: list[Any]) -> None:
    """Expect the same values, but for the order in which threads add."""
    same = len(values) == len(expected) and all(map(_is_close, values, expected))
    require(same, f"{name!r} to be as in the first answer")


def _is_close(value: Any, expected: Any) -> bool:
    value, expected = _NOT_FINITE.get(str(value), value), _NOT_FINITE.get(str(expected), expected)
    if value == expected:
        return True
    if not isinstance(value, float) or not isinstance(expected, float):
        return False
    return math.isclose(value, expected, rel_tol=_CLOSE, abs_tol=_CLOSE) or (math.isnan(value) and math.isnan(expected))


def require_binary(answer: Answer, expected: Outputs) -> None:
    """Expect an answer with the same outputs, those in binary behind its JSON."""
    require(answer.status == 200, "200")
    header = answer.headers.get("inference-header-content-length", "")
    decimal = header.isdecimal() and len(header) < 20
    require(decimal and int(header) <= len(answer.body), "inference-header-content-length, of the JSON")
    document = read_object(Answer(200, {}, answer.body[: int(header)]))
    tail = answer.body[int(header) :]
    outputs: Any = document.get("outputs")
    listed = isinstance(outputs, list) and all(isinstance(item, dict) for item in outputs)
    require(listed and [item.get("name") for item in outputs] == list(expected), f"the outputs {list(expected)}")
    for output in outputs:
        name = output["name"]
        require_output(name, output, binary=True)
        parameters = output.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        require(type(size) is int and 0 <= size <= len(tail), f"a binary_data_size of {name!r}, of {len(tail)} bytes")
        require("data" not in output, f"no 'data' of {name!r}, which is in binary")
        try:
            values = from_bytes(output["datatype"], tail[:size])
        except ValueError as error:
            raise FailedError(f"expected {name!r} in binary: {error}") from error
        require_same_values(name, values, list(flatten(expected[name].get("data"))))
        tail = tail[size:]
    require(not tail, f"no further bytes, and there are {len(tail)}")
