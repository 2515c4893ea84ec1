"""Read from operators' definitions which dtypes they take: ONNX's own operators, and those of onnxruntime."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx

_WORDS: dict[int, str] = {onnx.TensorProto.FLOAT16: "tensor(float16)", onnx.TensorProto.BFLOAT16: "tensor(bfloat16)"}


@dataclass(frozen=True)
class Ports:
    """The indices of a node's inputs and outputs that change their dtype."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def find_ports(
    node: onnx.NodeProto, versions: dict[str, int], half: int, inputs: list[int], outputs: list[int]
) -> Ports | None:
    """Return which of a node's float32 inputs and outputs can be ``half``; None where one that must be cannot.

    An input of a fixed dtype (the scales of Resize) stays. Outputs follow the inputs of the same type parameter; one
    whose dtype comes from elsewhere makes the answer None, except Cast's, which is the ``to`` of the node.
    """
    schema = _schema(node.op_type, node.domain, versions.get(node.domain or "", versions.get("ai.onnx", 0)))
    if schema is None:
        return None
    params, allowed = schema
    taken = {index: _param(params[0], index) for index in inputs}
    given = {index: _param(params[1], index) for index in outputs}
    tied = {param for param in taken.values() if not param.startswith("tensor(")}
    if any(_WORDS[half] not in allowed.get(param, ()) for param in tied):
        return None
    if node.op_type == "Cast":
        return Ports(tuple(taken), tuple(given))
    free = [param for param in given.values() if not param.startswith("tensor(") and param not in tied]
    # Its dtype comes from no input, as that of a constant or a random number does.
    if free:
        return None if inputs else Ports((), ())
    return Ports(
        tuple(index for index, param in taken.items() if param in tied),
        tuple(index for index, param in given.items() if param in tied),
    )


def _param(params: tuple[str, ...], index: int) -> str:
    """Return the type of an input or output; the last one of a definition may repeat."""
    return params[min(index, len(params) - 1)]


@cache
def _schema(
    op: str, domain: str, version: int
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], dict[str, Any]] | None:
    """Return the types of an operator's inputs and outputs, and what each type parameter allows; None if unknown."""
    found: Any
    if domain in ("", "ai.onnx"):
        try:
            found = onnx.defs.get_schema(op, version, "")
        except onnx.defs.SchemaError:
            return None
        kinds = ([item.type_str for item in found.inputs], [item.type_str for item in found.outputs])
    else:
        found = _runtime_schemas().get((domain, op))
        if found is None:
            return None
        # onnxruntime spells in camel case what onnx does not.
        kinds = ([item.typeStr for item in found.inputs], [item.typeStr for item in found.outputs])
    allowed = {item.type_param_str: frozenset(item.allowed_type_strs) for item in found.type_constraints}
    return (tuple(kinds[0]), tuple(kinds[1])), allowed


@cache
def _runtime_schemas() -> dict[tuple[str, str], Any]:
    """Return the operators that onnxruntime adds, such as those that its optimizer writes."""
    from onnxruntime.capi import _pybind_state as runtime

    return {(item.domain, item.name): item for item in runtime.get_all_operator_schema() if item.domain}
