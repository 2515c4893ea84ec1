"""Put a row's detections into the order that the source model gave them: where scores tie, either order is right."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from onnxpack.data.test_inputs import Arrays
from onnxpack.spec.output_names import DETECTION_PARTS

Array = np.ndarray[Any, Any]


def align_detections(expected: Arrays, actual: Arrays) -> tuple[Arrays, dict[str, int]]:
    """Return the actual outputs with each row's boxes beside the expected ones, and how many moved, by output.

    Only what is in order of its scores moves, and only to a box of the same class; how near they are is judged later.
    """
    moved = dict(actual)
    counts: dict[str, int] = {}
    for names in _find_detections(expected, actual):
        right, got = ([outputs[name] for name in names] for outputs in (expected, actual))
        orders = [_match(*(part[row] for part in (*right, *got))) for row in range(len(right[0]))]
        places = np.array(orders, np.int64).reshape(right[1].shape)
        count = int((places != np.arange(places.shape[1])).sum())
        if not count:
            continue
        for name, array in zip(names, got, strict=True):
            index = places[..., None] if array.ndim > places.ndim else places
            moved[name] = np.take_along_axis(array, index, axis=1)
            counts[name] = count
    return moved, counts


def _find_detections(expected: Arrays, actual: Arrays) -> Iterator[tuple[str, str, str]]:
    """Yield the names of boxes, scores and classes that belong together, as a step of nms gives them."""
    for name in expected:
        prefix, found, _ = name.rpartition(f"_{DETECTION_PARTS[0]}")
        names = tuple(f"{prefix}_{part}" for part in DETECTION_PARTS)
        if not found or any(each not in expected or each not in actual for each in names):
            continue
        boxes, scores, classes, _ = names
        shape = expected[scores].shape
        alike = all(expected[each].shape == actual[each].shape for each in names)
        if alike and len(shape) == 2 and expected[boxes].shape == (*shape, 4) and expected[classes].shape == shape:
            yield boxes, scores, classes


def _match(*parts: Array) -> list[int]:
    """Return for each expected box of a row the place of the nearest one of its class; the parts are of both rows."""
    boxes, _, classes, others, scores, kinds = parts
    order = list(range(len(boxes)))
    if np.array_equal(boxes, others) or (scores[1:] > scores[:-1]).any():
        return order
    apart = np.abs(boxes[:, None].astype(np.float64) - others[None]).max(axis=2, initial=0)
    apart = np.where(classes[:, None] == kinds[None], apart, np.inf)
    left = set(order)
    found = []
    for place in order:
        # Of equally near ones that at the same place: nothing moves without need.
        best = min(left, key=lambda other: (apart[place, other], other != place))
        left.remove(best)
        found.append(best)
    return found
