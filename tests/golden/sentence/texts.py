"""The texts of sentence, made tokens by the library that the model was trained with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer


class Tokens(NamedTuple):
    """Tensors of tokens by their names, and for each text where each token was, as (start, end, sequence)."""

    arrays: dict[str, NDArray[Any]]
    offsets: list[list[tuple[int, int, int]]]


def load(file: str, length: int | None) -> Tokenizer:
    """Load a tokenizer that lies beside this module."""
    tokenizer = Tokenizer.from_file(str(Path(__file__).with_name(file)))
    if length:
        tokenizer.enable_truncation(length)
    tokenizer.enable_padding()
    return tokenizer


TOKENIZERS = {
    "text": load("0.tokenizer.json", 16),
}
GIVEN = {  # the tensors that each input makes: ids, mask and types
    "text": {
        "input_ids": np.int64,
        "attention_mask": np.int64,
    },
}


def tokenize(name: str, texts: Sequence[str], pairs: Sequence[str] | None) -> Tokens:
    """Make tokens of the texts of one input."""
    both: list[Any] = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
    found = TOKENIZERS[name].encode_batch(both)
    rows = [(one.ids, one.attention_mask, one.type_ids) for one in found]
    parts = zip(GIVEN[name].items(), zip(*rows, strict=True), strict=False)
    arrays = {given: np.array(part, dtype) for (given, dtype), part in parts}
    return Tokens(arrays, [list_places(one) for one in found])


def list_places(found: Encoding) -> list[tuple[int, int, int]]:
    """List where each token was."""
    return [(*place, part or 0) for place, part in zip(found.offsets, found.sequence_ids, strict=True)]
