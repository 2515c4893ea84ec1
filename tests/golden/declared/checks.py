"""Which values the columns of declared may have, however they come.

Whatever is wrong is a ValueError whose message is for the request's sender; it counts rows from 1.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ERRORS = 5  # that are told at once
MAX_WORDS = 10  # of those that are known, to show
WORDS: dict[str, dict[str, None]] = {  # all that a column may have; without any, all but an empty one
    "city": dict.fromkeys(
        [
            "Lima",
            "Oslo",
        ]
    ),
}
DATES = {  # the first and the last number, and what it counts from 1970-01-01
    "joined": (-719162, 2932896, "days"),
    "seen": (-62135596800, 253402300799, "seconds"),
}


def check_columns(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError for words that are not known, missing ones and dates that there are not."""
    errors: list[tuple[int, str]] = []
    for name in WORDS:
        errors += islice(find_words(name, arrays[name].tolist()), MAX_ERRORS)
    for name in DATES:
        errors += islice(find_dates(name, arrays[name]), MAX_ERRORS)
    if errors:
        errors.sort(key=lambda error: error[0])
        told = [f"row {row}, {message}" for row, message in errors[:MAX_ERRORS]]
        raise ValueError("; ".join([*told, *(["and maybe more"] if len(errors) >= MAX_ERRORS else [])]))


def find_words(name: str, words: list[str]) -> Iterator[tuple[int, str]]:
    """Find the words of a column that it may not have, with their rows."""
    known = WORDS[name]
    wrong = set(words).difference(known) if known else {""}.intersection(words)
    if wrong:
        for row, word in enumerate(words, 1):
            if word in wrong:
                yield row, f"column {name!r}: {tell_word(word, known)}"


def tell_word(word: str, known: dict[str, None]) -> str:
    """Say that a word is not known, or is missing."""
    if not word:
        return "a value is missing"
    shown = ", ".join(repr(one) for one in islice(filter(None, known), MAX_WORDS))
    more = f" or {len(known) - MAX_WORDS} more" if len(known) > MAX_WORDS else ""
    return f"{word[:60]!r:.62} is none of {shown}{more}"


def find_dates(name: str, dates: NDArray[Any]) -> Iterator[tuple[int, str]]:
    """Find the numbers that stand for no date, with their rows."""
    first, last, unit = DATES[name]
    for place in map(tuple, np.argwhere((dates < first) | (dates > last))[:MAX_ERRORS]):
        told = f"{dates[place]} {unit} from 1970-01-01 is in no year from 1 to 9999"
        yield int(place[0]) + 1, f"column {name!r}: {told}"
