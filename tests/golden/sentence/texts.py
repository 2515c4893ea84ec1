"""The texts of sentence as tokens, made by the library that the model was trained with.

Whatever is wrong with a text is a ValueError whose message is for the request's sender.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the library's threads would know of no CPU quota

LONGEST = 2**17  # bytes of a text or pair in UTF-8; the library takes up to 3,000 for one, for a while
MOST = 2**20  # bytes of all texts of a request: some seconds
BREAK = re.compile(r"(?<=[A-Za-z0-9]) (?=[A-Za-z0-9])")  # tokens in front are the same whatever follows


class Tokens(NamedTuple):
    """Inputs of the ONNX file by name, [rows, tokens]."""

    arrays: dict[str, NDArray[Any]]


class Row(NamedTuple):
    """What is kept of a text's tokens: how many, and what the library says of them."""

    size: int
    values: dict[str, NDArray[Any]]


class Part(NamedTuple):
    """An input of the ONNX file, the library's word for what it takes, and what fills up shorter rows."""

    source: str
    name: str
    dtype: type[np.number[Any]]
    pad: int


@dataclass(frozen=True)
class Setting:
    """How the texts of one input become tokens.

    A row has ``least`` to ``most`` tokens. More are cut off on the side ``cut``, or refused if that is "".
    """

    tokenizer: Tokenizer
    parts: tuple[Part, ...]
    least: int
    most: int
    cut: str
    pad_left: bool
    shortens: bool  # whether the beginning of a long text may be tokenized for all of it


def load(file: str) -> Tokenizer:
    """Load a tokenizer that lies beside this module."""
    tokenizer = Tokenizer.from_file(str(Path(__file__).with_name(file)))
    tokenizer.no_truncation()  # see choose
    tokenizer.no_padding()
    return tokenizer


SETTINGS = {
    "text": Setting(
        load("0.tokenizer.json"),
        (
            Part("ids", "input_ids", np.int64, 0),
            Part("attention_mask", "attention_mask", np.int64, 0),
        ),
        least=1,
        most=16,
        cut="right",
        pad_left=False,
        shortens=True,
    ),
}


def tokenize(name: str, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tokens:
    """Make tokens of the texts of one input, with their pairs if there are any, all rows of one length."""
    setting = SETTINGS[name]
    rows: list[Row] = []
    room = MOST
    for number, text in enumerate(texts):
        try:
            row, used = encode(setting, (text,) if pairs is None else (text, pairs[number]), room)
        except ValueError as error:
            raise ValueError(f"input {name!r}, text {number}: {error}") from None
        rows.append(row)
        room -= used
    return join(setting, rows)


def encode(setting: Setting, texts: tuple[str, ...], room: int) -> tuple[Row, int]:
    """Make a row of a text or a pair, and tell how many of the ``room`` bytes that may be read it took."""
    used = sum(map(measure, texts))
    if setting.shortens:
        texts = (shorten(setting, texts[0]),)
        used = measure(texts[0])
    if used > LONGEST:
        raise ValueError(f"it has {used} bytes in UTF-8, and at most {LONGEST} can be tokenized")
    if used > room:
        raise ValueError(f"the request's texts have more than {MOST} bytes in UTF-8, which is the most")
    encoding = run(setting.tokenizer, texts)
    kept = choose(setting, encoding)
    values = {name: np.array(getattr(encoding, name))[kept] for name, *_ in setting.parts}
    return Row(len(kept), values), used


def shorten(setting: Setting, text: str) -> str:
    """Cut a long text off behind all tokens that are kept, so that no time goes into the others."""
    size = 8 * setting.most
    while found := BREAK.search(text, size):
        size = found.start()
        if size > LONGEST or len(run(setting.tokenizer, (text[:size],)).ids) > setting.most:
            return text[:size]
        size *= 2
    return text


def measure(text: str) -> int:
    """Measure a text in UTF-8, which is about what it costs."""
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair, which is no character") from None


def run(tokenizer: Tokenizer, texts: tuple[str, ...]) -> Encoding:
    """Run the library."""
    try:
        # A batch of one: unlike a single text, it lets other threads run meanwhile.
        encodings: list[Encoding] = tokenizer.encode_batch([texts if len(texts) > 1 else texts[0]])
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        raise ValueError(f"the tokenizer refuses it: {' '.join(str(error).split())}") from None
    return encodings[0]


def choose(setting: Setting, encoding: Encoding) -> NDArray[np.intp]:
    """Choose the tokens of a row that are kept: the special ones, and of its texts what there is room for.

    The library's own truncation would keep the rest too, of pairs each part with each: that takes all memory.
    """
    count = len(encoding.ids)
    if count <= setting.most:
        return np.arange(count)
    if not setting.cut:
        raise ValueError(f"it has more than {setting.most} tokens")
    numbers = number_texts(encoding)
    special, first, second = (np.flatnonzero(numbers == number) for number in (-1, 0, 1))
    left, right = share(len(first), len(second), setting.most - len(special))
    if setting.cut == "left":
        first, second = first[::-1], second[::-1]
    return np.sort(np.concatenate([special, first[:left], second[:right]]))


def number_texts(encoding: Encoding) -> NDArray[np.intp]:
    """Tell for each token whether it is of the text, 0, or of its pair, 1; special ones are -1."""
    return np.array([-1 if number is None else number for number in encoding.sequence_ids])


def share(first: int, second: int, room: int) -> tuple[int, int]:
    """Share the room among a text and its pair: the longer one gives way, down to half of it each."""
    if first + second <= room:
        return first, second
    short = min(first, second, room // 2)
    return (short, room - short) if first <= second else (room - short, short)


def join(setting: Setting, rows: Sequence[Row]) -> Tokens:
    """Join rows to arrays, filled up to the longest of them."""
    width = max([setting.least, *(row.size for row in rows)])
    arrays = {part.name: np.full((len(rows), width), part.pad, part.dtype) for part in setting.parts}
    for number, row in enumerate(rows):
        start = width - row.size if setting.pad_left else 0
        for part in setting.parts:
            arrays[part.name][number, start : start + row.size] = row.values[part.source]
    return Tokens(arrays)
