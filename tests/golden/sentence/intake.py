"""What is between clients of sentence and its ONNX file: texts become tokens.

Whatever is wrong with them is a ValueError whose message is for the request's sender.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from texts import Tokens, tokenize

Arrays = dict[str, NDArray[Any]]

SIZES = (  # for the ONNX file's inputs: name, dimension and its axis, the limits, and the client's input
    ("input_ids", 1, "tokens", 1, 16, "text"),
    ("attention_mask", 1, "tokens", 1, 16, "text"),
)


@dataclass
class Context:
    """What of a request's inputs its outputs are made with."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    tokens: dict[str, Tokens] = field(default_factory=dict)


def prepare(arrays: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Context]:
    """Make the ONNX file's inputs of a client's, which are checked."""
    fed, context = dict(arrays), Context()
    read_texts(fed, context, "text", None)
    check_sizes(fed)
    return fed, context


def read_texts(fed: Arrays, context: Context, name: str, pair: str | None) -> None:
    """Put the tokens of texts in the place of the texts."""
    texts = [str(text) for text in fed.pop(name).tolist()]
    pairs = [str(text) for text in fed.pop(pair).tolist()] if pair else None
    tokens = tokenize(name, texts, pairs)
    fed.update(tokens.arrays)
    context.texts[name], context.tokens[name] = texts, tokens
    if pair and pairs:
        context.texts[pair] = pairs


def check_sizes(fed: Arrays) -> None:
    """Raise ValueError unless the ONNX file takes tensors of these sizes."""
    seen: dict[str, tuple[int, str]] = {}
    for name, dimension, axis, least, greatest, owner in SIZES:
        size = fed[name].shape[dimension]
        if not least <= size <= greatest:
            raise ValueError(f"input {owner!r}: its {axis} must be {least} to {greatest}, got {size}")
        first, other = seen.setdefault(axis, (size, owner))
        if size != first:
            raise ValueError(f"input {owner!r}: its {axis} must be {first} as that of {other!r}, got {size}")


def conclude(results: Arrays, context: Context) -> Arrays:
    """Make a client's outputs of what the ONNX file gives."""
    return results
