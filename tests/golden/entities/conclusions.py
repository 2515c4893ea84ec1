"""What clients of iris get for the scores of tokens: entities, as JSON."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texts import Place, Tokens

LABELS = {  # by output: what a token's class says, and whether an entity begins and ends with it
    "entities": (
        ("", False, False),
        ("PER", True, False),
        ("PER", False, False),
    ),
}
OUTPUTS = [
    "entities",
]


def conclude(
    results: Mapping[str, NDArray[Any]], texts: Mapping[str, Sequence[str]], tokens: Mapping[str, Tokens]
) -> dict[str, NDArray[Any]]:
    """Make a client's outputs of those of the ONNX file, by the texts and tokens of the request's inputs."""
    made = dict(results)
    labels = LABELS["entities"]
    words, places, scores = texts["text"], tokens["text"].offsets, results["logits"]
    made["entities"] = write_documents(
        find_entities(labels, *row) for row in zip(words, places, scores, strict=True)
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


@dataclass
class Entity:
    """Neighbouring tokens with one label: their place in the text, and the probability of each."""

    tag: str
    start: int
    end: int
    scores: list[float]


def find_entities(
    labels: Sequence[tuple[str, bool, bool]],
    text: str,
    places: Sequence[Place],
    scores: NDArray[Any],
) -> list[dict[str, Any]]:
    """Find the entities of a text by the scores of its tokens, [tokens, classes].

    A word has the label of its first token.
    """
    chances = compute_chances(scores[: len(places)])
    found: list[Entity] = []
    closed = True
    last_word = -1
    for place, classes in zip(places, chances, strict=True):
        if place.part < 0:
            continue
        if found and last_word == place.word >= 0:
            found[-1].end = place.end
            continue
        number = int(classes.argmax())
        tag, begins, ends = labels[number]
        if begins or closed or tag != found[-1].tag:
            found.append(Entity(tag, place.start, place.end, []))
        found[-1].end = place.end
        found[-1].scores.append(float(classes[number]))
        closed, last_word = ends, place.word
    return [
        {
            "entity": one.tag,
            "score": tidy(sum(one.scores) / len(one.scores)),
            "start": one.start,
            "end": one.end,
            "text": text[one.start : one.end],
        }
        for one in found
        if one.tag
    ]
