"""Entities and answers of texts by the scores of their tokens, as transformers' pipelines find them.

The generated module does the same in its own way; this is what it is compared with. Differences to transformers are on
purpose: labels by the scheme BIOES are read as such, and words are those of the tokenizer also where it has no prefix
for parts of words, of which transformers guesses by spaces.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from onnxpack.core.values import TensorInfo
from onnxpack.data.test_inputs import Arrays
from onnxpack.intake.reference import load_texts
from onnxpack.spec.conclusions import MOST_TOKENS, conclude_outputs, list_conclusions
from onnxpack.spec.intakes import list_intakes
from onnxpack.spec.load import SpecFile
from onnxpack.transforms.outputs import read_labels

Array = np.ndarray[Any, Any]


def conclude_request(file: SpecFile, request: Mapping[str, Any], outputs: Arrays) -> Arrays:
    """Return a client's outputs by those of the ONNX file, for a request by the Open Inference Protocol."""
    texts = {tensor["name"]: tensor["data"] for tensor in request["inputs"]}
    made = dict(outputs)
    for one in list_conclusions(file.spec):
        (intake,) = [intake for intake in list_intakes(file.spec) if intake.name == one.tokens]
        pairs = texts[intake.taken[1].name] if len(intake.taken) > 1 else None
        encodings = load_texts(file, intake).encode(texts[one.tokens], pairs)
        scores = [outputs[name].astype(np.float64) for name in one.taken]
        rows = list(zip(texts[one.text], encodings, *scores, strict=True))
        if one.step.kind == "answer":
            found: list[Any] = [find_answer(one.step.max_answer or MOST_TOKENS, *row) for row in rows]
        else:
            labels = read_labels(file, one.step)
            by_word = one.step.aggregation == "first"
            found = [find_entities(labels, by_word, *row) for row in rows]
        made[one.given] = np.array([json.dumps(value, ensure_ascii=False) for value in found], str)
    infos = [TensorInfo(name, "", array.shape) for name, array in outputs.items()]
    return {info.name: made[info.name] for info in conclude_outputs(file.spec, infos)}


def find_entities(
    labels: Sequence[str], by_word: bool, text: str, encoding: Any, scores: Array
) -> list[dict[str, Any]]:
    """Return the entities of a text; ``scores`` are those of its tokens, [tokens, classes]."""
    chances = _softmax(scores)
    tokens = [
        (labels[int(chances[number].argmax())], float(chances[number].max()), *encoding.offsets[number], word)
        for number, (special, word) in enumerate(zip(encoding.special_tokens_mask, encoding.word_ids, strict=True))
        if not special
    ]
    if by_word:
        words = [list(group) for _, group in groupby(enumerate(tokens), key=_name_word)]
        tokens = [(*group[0][1][:3], group[-1][1][3], group[0][1][4]) for group in words]
    groups: list[list[tuple[str, float, int, int, Any]]] = []
    for token in tokens:
        bare, last = _strip(token[0], labels), _strip(groups[-1][-1][0], labels) if groups else ("", "")
        if groups and bare[1] == last[1] and bare[0] not in ("B", "S") and last[0] not in ("E", "S"):
            groups[-1].append(token)
        else:
            groups.append([token])
    return [
        {
            "entity": _strip(group[0][0], labels)[1],
            "score": round(float(np.mean([token[1] for token in group])), 6),
            "start": group[0][2],
            "end": group[-1][3],
            "text": text[group[0][2] : group[-1][3]],
        }
        for group in groups
        if group[0][0] not in ("O", "")
    ]


def _name_word(numbered: tuple[int, tuple[str, float, int, int, Any]]) -> tuple[str, int]:
    number, token = numbered
    return ("token", number) if token[4] is None else ("word", token[4])


def _strip(label: str, labels: Sequence[str]) -> tuple[str, str]:
    """Return the prefix of a label and its word; I where it has none."""
    for prefix in "BIES":
        word = label.removeprefix(f"{prefix}-")
        if word and word != label and (prefix in "BI" or f"B-{word}" in labels):
            return prefix, word
    return "I", label


def find_answer(most: int, text: str, encoding: Any, starts: Array, ends: Array) -> dict[str, Any]:
    """Return the answer in a text, the second of its pair, whose product of both probabilities is the greatest.

    Tokens of the text and the first special one, which stands for "no answer", share the probability.
    """
    parts = list(encoding.sequence_ids)
    inside = np.array([part == 1 for part in parts])
    known = inside.copy()
    known[max(parts.index(0) if 0 in parts else parts.index(1) if 1 in parts else 0, 1) - 1] = True
    begin, finish = (np.where(inside, _softmax(np.where(known, scores, -1e4)), 0) for scores in (starts, ends))
    spans = np.tril(np.triu(np.outer(begin, finish)), most - 1)
    start, end = np.unravel_index(int(spans.argmax()), spans.shape)
    if not spans[start, end] > 0:
        return {"answer": "", "score": 0.0, "start": 0, "end": 0}
    low, high = encoding.offsets[start][0], encoding.offsets[end][1]
    if encoding.word_ids[start] is not None:
        low = encoding.word_to_chars(encoding.word_ids[start], 1)[0]
    if encoding.word_ids[end] is not None:
        high = encoding.word_to_chars(encoding.word_ids[end], 1)[1]
    return {"answer": text[low:high], "score": round(float(spans[start, end]), 6), "start": low, "end": high}


def _softmax(scores: Array) -> Array:
    powers: Array = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: Array = powers / powers.sum(axis=-1, keepdims=True)
    return result
