"""Outputs that hold the best classes of each row in order, beside their values, as topk gives them."""

from typing import Any

import numpy as np

from onnxpack.data.test_inputs import Arrays
from onnxpack.spec.output_names import DETECTION_PARTS, name_values

Array = np.ndarray[Any, Any]


def take_ranked(outputs: Arrays) -> tuple[Arrays, Arrays]:
    """Return the outputs that are no part of a ranking or of detections, and the rankings' classes, [..., k], by name.

    What is ranked is no table of scores: its columns are places, not classes.
    """
    ranked = {name: array for name, array in outputs.items() if name_values(name) in outputs}
    found = {name_values(name) for name in ranked} | set(ranked)
    for name in outputs:
        prefix, part, _ = name.rpartition(f"_{DETECTION_PARTS[-1]}")
        if part and all(f"{prefix}_{other}" in outputs for other in DETECTION_PARTS):
            found |= {f"{prefix}_{other}" for other in DETECTION_PARTS}
    return {name: array for name, array in outputs.items() if name not in found}, ranked


def list_best(ranked: Arrays) -> Arrays:
    """Return the best class of each row, by the ranking's name."""
    return {name: array[..., 0] for name, array in ranked.items() if array.ndim > 1}


def compute_ranked(k: int, ranked: Arrays, labels: Array) -> float | None:
    """Return the share of rows whose label is among the first k of a ranking; None if none is so long."""
    for array in ranked.values():
        text = array.dtype.kind in "OUS"
        if array.shape[:-1] == labels.shape and array.shape[-1] >= k and text == (labels.dtype.kind in "US"):
            best = array[..., :k].astype(str) if text else array[..., :k]
            return float((best == labels[..., None]).any(axis=-1).mean())
    return None
