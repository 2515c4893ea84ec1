"""What clients of iris get for the scores of tokens: answers, as JSON."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texts import Place, Tokens

OUTPUTS = [
    "answer",
]


def conclude(
    results: Mapping[str, NDArray[Any]], texts: Mapping[str, Sequence[str]], tokens: Mapping[str, Tokens]
) -> dict[str, NDArray[Any]]:
    """Make a client's outputs of those of the ONNX file, by the texts and tokens of the request's inputs."""
    made = dict(results)
    words, places = texts["context"], tokens["question"].offsets
    starts, ends = results["start_logits"], results["end_logits"]
    made["answer"] = write_documents(
        find_answer(15, *row) for row in zip(words, places, starts, ends, strict=True)
    )
    return {name: made[name] for name in OUTPUTS}


def write_documents(values: Iterable[object]) -> NDArray[Any]:
    """Write each row's result as JSON."""
    return np.array([json.dumps(value, ensure_ascii=False) for value in values], object)


def compute_chances(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the probabilities along the last axis."""
    wide = scores.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    chances: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return chances


def tidy(score: float) -> float | None:
    """Round a probability; JSON has no NaN."""
    return round(score, 6) if math.isfinite(score) else None


def find_answer(
    most: int, text: str, places: Sequence[Place], starts: NDArray[Any], ends: NDArray[Any]
) -> dict[str, Any]:
    """Find the answer in a text, which is the second of its pair, by the scores of its first and last token.

    It has ``most`` tokens at most, and whole words.
    """
    inside = np.array([place.part == 1 for place in places])
    first = next((number for number, place in enumerate(places) if place.part >= 0), 0)
    known = inside.copy()
    known[max(first - 1, 0)] = True  # the token in front of the question stands for "no answer"
    begin, finish = (
        np.where(inside, compute_chances(np.where(known, scores[: len(places)], -np.inf)), 0.0)
        for scores in (starts, ends)
    )
    best, start, end = 0.0, -1, -1
    for length in range(min(most, len(places))):
        chances = begin[: len(places) - length] * finish[length:]
        place = int(chances.argmax())
        if chances[place] > best:
            best, start, end = float(chances[place]), place, place + length
    if start < 0:
        return {"answer": "", "score": 0.0, "start": 0, "end": 0}
    while is_one_word(places, start - 1):
        start -= 1
    while is_one_word(places, end):
        end += 1
    low, high = places[start].start, places[end].end
    return {"answer": text[low:high], "score": tidy(best), "start": low, "end": high}


def is_one_word(places: Sequence[Place], number: int) -> bool:
    """Tell whether a token and the next one are parts of one word."""
    if not 0 <= number < len(places) - 1:
        return False
    one, other = places[number], places[number + 1]
    return one.part == other.part >= 0 and one.word == other.word >= 0
