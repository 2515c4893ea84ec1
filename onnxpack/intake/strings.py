"""Seeded strings such as strangers send: of every script, with emoji, marks, controls, white space, or very long."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

FIXED = (
    "", " ", "\n", "\t \r\n", "\x00", "\x00\x01\x1f\x7f", "\u00a0", "\u3000", "\u200b\u200c\u200d\ufeff", "\ufffd",
    "a", "A b", " leading", "trailing ", "two  spaces", "line\nline\r\nline\u2028line\u2029line\x85line", "a\u00a0b",
    "caf\u00e9", "cafe\u0301", "\u1e9b\u0323", "\ufb01\ufb02\u017f\u00df\u1e9e", "\u0130I\u0131i\u0307",
    "\u03a3\u03c3\u03c2", "\u212b\u00c5A\u030a", "\uac00\u1100\u1161", "e" + "\u0301" * 40, "\u0301\u0302",
    "Z\u0351\u036b\u0343", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd",
    "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "1\ufe0f\u20e3", "\u202eabc\u202c", "\u2067\u05d0\u05d1\u2069 a",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "\ud7ff\ue000\uffff", "\U0010ffff", "\U000e0001\U000e0061",
    "\u4f60\u597d\uff0c\u4e16\u754c", "\u3053\u3093\u306b\u3061\u306f", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "[CLS] [SEP] [PAD] [MASK] [UNK]", "a[SEP]b", "<s></s><pad><unk><mask>", "<|endoftext|>", "\u2581\u2581a\u2581b",
    "\u0120a\u010a", "##ing", "it's we'll I'm you've", "1,234.56e-7", "a@b.example https://example.org/?q=%20#x",
    "<b>&amp;</b>", "\\n\\u0041", "';DROP TABLE t;--", "${x} {{y}} %s", "nan", "null", "a" * 101, "ab" * 400,
    " " * 300, "\n" * 300,
)  # fmt: skip
"""Strings at which tokenizers are known to differ, each of which is always among those drawn."""

_BLOCKS = (
    (0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x250, 0x370), (0x370, 0x530), (0x530, 0x590), (0x590, 0x780),
    (0x900, 0xE00), (0xE00, 0x1000), (0x1000, 0x1200), (0x1200, 0x1400), (0x1780, 0x1AB0), (0x1E00, 0x2000),
    (0x2000, 0x2070), (0x2070, 0x2C00), (0x2C00, 0x2E80), (0x3000, 0x3400), (0x4E00, 0xA000), (0xA000, 0xAC00),
    (0xAC00, 0xD7A4), (0xE000, 0xF900), (0xF900, 0xFB00), (0xFB00, 0x10000), (0x10000, 0x14700), (0x16800, 0x18B00),
    (0x1D000, 0x1D800), (0x1E000, 0x1F000), (0x1F000, 0x1FC00), (0x20000, 0x32000), (0xE0000, 0xE0200),
)  # fmt: skip
"""First and last code points of scripts and symbols, assigned or not; the ends are no part of them."""
_SPACES = " \t\n\r\x0b\x0c\x85\u00a0\u1680\u2003\u2009\u2028\u202f\u3000\u200b"
_MARKS = "\u0300\u0301\u0308\u0323\u034f\u0483\u05b0\u064b\u093c\u0e34\u20dd\ufe0f\u200d\u200c\u202e\u202c\u2066\u2069"
_FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


def draw_strings(count: int, seed: int, words: Sequence[str] = (), longest: int = 20_000) -> Iterator[str]:
    """Yield strings, the same for the same numbers: ``FIXED`` first, then random ones, some made of ``words``.

    None of those has more than ``longest`` characters, and one in a thousand has as many.
    """
    generator = np.random.default_rng([seed, count])
    yield from FIXED[:count]
    for number in range(len(FIXED), count):
        # One in fifty is long, one in a thousand as long as it may be.
        size = (
            longest if number % 1000 == 999 else longest // 20 if number % 50 == 49 else int(generator.integers(1, 60))
        )
        yield _draw_string(generator, size, words or FIXED)[:longest]


def _draw_string(generator: np.random.Generator, size: int, words: Sequence[str]) -> str:
    """Draw a string of about ``size`` characters, of pieces of a few kinds."""
    drawers: tuple[Callable[[int], str], ...] = (
        lambda length: _draw_block(generator, length),
        lambda length: _draw_block(generator, length),
        lambda length: " ".join(words[index] for index in generator.integers(0, len(words), 1 + length // 8)),
        lambda length: "".join(words[index] for index in generator.integers(0, len(words), 1 + length // 8)),
        lambda length: _choose(generator, _SPACES, 1 + length // 4),
        lambda length: "".join(
            letter + mark
            for letter, mark in zip(_draw_block(generator, length), _choose(generator, _MARKS, length), strict=True)
        ),
        lambda length: "".join(map(chr, generator.integers(0, 0x20, 1 + length // 8).tolist())),
        lambda length: chr(int(generator.integers(0x20, 0x7F))) * length,
    )
    text = ""
    while len(text) < size:
        piece = drawers[generator.integers(0, len(drawers))](int(generator.integers(1, max(2, size // 2))))
        text += piece + (" " if generator.random() < 0.5 else "")
    if generator.random() < 0.25:
        text = unicodedata.normalize(_FORMS[generator.integers(0, len(_FORMS))], text)
    return text


def _draw_block(generator: np.random.Generator, length: int) -> str:
    """Draw characters of one script, some of them spaces."""
    low, high = _BLOCKS[generator.integers(0, len(_BLOCKS))]
    points = generator.integers(low, high, length)
    points[generator.random(length) < 0.15] = 0x20
    return "".join(map(chr, points.tolist()))


def _choose(generator: np.random.Generator, letters: str, length: int) -> str:
    return "".join(letters[index] for index in generator.integers(0, len(letters), length))
