"""Find which values the tensors of a model take, from which static quantization chooses its scales.

Two passes over the data, one batch at a time: least and greatest value, found inside the runtime; then, for ``entropy``
and ``percentile``, a histogram of each tensor between these. What is held is one batch's tensors, a group at a time of
at most ``GROUP_BYTES``, and the histograms; the shapes of batches may differ.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxpack.core.errors import SourceError
from onnxpack.data.test_inputs import Arrays
from onnxpack.precision.tensors import open_probe_session, run_batches

Ranges = dict[str, tuple[float, float]]
"""The least and the greatest value to tell apart, by tensor."""
Batches = Callable[[], Iterable[Arrays]]

GROUP_BYTES = 256_000_000
"""Of tensors that leave the runtime at once."""
BINS = 2048
"""As in TensorRT's calibration, the usual reference for both methods."""
LEVELS = 128
PERCENTILE = 99.999
"""Of the values are between the chosen ends; onnxruntime's default."""
_FILE = "ranges.json"


def calibrate(
    model: onnx.ModelProto, tensors: list[str], batches: Batches, method: str, scratch: Path, say: Callable[[str], None]
) -> Ranges:
    """Return the range of each of the float32 ``tensors``; ``method`` is ``minmax``, ``entropy`` or ``percentile``.

    Raises:
        SourceError: there is no data, or the model fails on it.
    """
    ranges, sizes = _extremes(model, tensors, batches, scratch, say)
    if method == "minmax":
        return ranges
    # The second pass, for which the ends of the first set the bins.
    choose = {"entropy": entropy_range, "percentile": percentile_range}[method]
    for number, group in enumerate(_groups(sizes)):
        counts = {name: np.zeros(BINS, np.int64) for name in group}
        running = open_probe_session(model, group, scratch)
        for found in run_batches(running, batches(), say, f"histograms, part {number + 1}"):
            for name, values in found.items():
                counts[name] += histogram(values, ranges[name], absolute=method == "entropy")
        ranges |= {name: choose(counts[name], ranges[name]) for name in group}
    return ranges


def histogram(values: np.ndarray[Any, Any], ends: tuple[float, float], *, absolute: bool) -> np.ndarray[Any, Any]:
    """Count the values, or their magnitudes from zero on, in ``BINS`` equal parts of a range; int64 [BINS]."""
    low, high = (0.0, max(map(abs, ends))) if absolute else ends
    # A constant tensor has no width to divide.
    if high <= low:
        return np.zeros(BINS, np.int64)
    counts, _ = np.histogram(np.abs(values) if absolute else values, BINS, (low, high))
    return counts.astype(np.int64)


def percentile_range(counts: np.ndarray[Any, Any], ends: tuple[float, float]) -> tuple[float, float]:
    """Return the range without the outermost values that ``PERCENTILE`` leaves out, half on each side."""
    low, high = ends
    total = int(counts.sum())
    if not total:
        return ends
    share = counts.cumsum() / total
    # Half on each side.
    cut = (1 - PERCENTILE / 100) / 2
    width = (high - low) / BINS
    first, last = int(np.searchsorted(share, cut)), int(np.searchsorted(share, 1 - cut))
    return low + first * width, min(high, low + (last + 1) * width)


def entropy_range(counts: np.ndarray[Any, Any], ends: tuple[float, float]) -> tuple[float, float]:
    """Return the range cut at the magnitude whose ``LEVELS`` levels lose the least information.

    The least Kullback-Leibler divergence between the histogram, its tail put into the last bin, and what is left of it
    in ``LEVELS`` levels: Migacz, *8-bit Inference with TensorRT* (GTC 2017). The bin of zero counts as its neighbour.
    """
    low, high = ends
    if not counts.sum():
        return ends
    # A copy: the caller's histogram stays as it was counted.
    counts = counts.astype(np.float64)
    counts[0] = counts[1]
    losses = [_divergence(counts, kept) for kept in range(LEVELS, BINS + 1)]
    largest = max(abs(low), abs(high)) * (LEVELS + int(np.argmin(losses))) / BINS
    return max(low, -largest), min(high, largest)


def _divergence(counts: np.ndarray[Any, Any], kept: int) -> float:
    """Return the Kullback-Leibler divergence, ``Σ p · log(p / q)``, for the first ``kept`` bins."""
    inside = counts[:kept]
    real = inside.copy()
    real[-1] += counts[kept:].sum()
    # Where each level begins; with whole numbers, as ``kept`` is rarely a multiple of ``LEVELS``.
    starts = np.arange(LEVELS) * kept // LEVELS
    full = inside > 0
    used = np.add.reduceat(full, starts)
    # Spread over the bins that held anything: empty ones stay empty.
    level = np.add.reduceat(inside, starts) / np.maximum(used, 1)
    coarse = np.repeat(level, np.diff(np.append(starts, kept))) * full
    if not coarse.any():
        return float("inf")
    p, q = real / real.sum(), coarse / coarse.sum()
    seen = p > 0
    if not q[seen].all():  # a tail that falls where nothing was is lost
        q = np.where(seen & (q == 0), 1e-12, q)
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())


def write(folder: Path, ranges: Ranges) -> None:
    """Write ranges into a folder."""
    (folder / _FILE).write_text(json.dumps(ranges))


def read(folder: Path) -> Ranges:
    """Read the ranges that ``write`` left."""
    return {name: (low, high) for name, (low, high) in json.loads((folder / _FILE).read_text()).items()}


def _extremes(
    model: onnx.ModelProto, tensors: list[str], batches: Batches, scratch: Path, say: Callable[[str], None]
) -> tuple[Ranges, dict[str, int]]:
    """Return the range of each tensor, and the most bytes that it had in a batch."""
    make = onnx.helper.make_node
    parts: dict[str, tuple[str, dict[str, Any]]] = {
        # Reduced inside the runtime: three numbers leave it instead of the tensor.
        "least": ("ReduceMin", {"keepdims": 0}),
        "most": ("ReduceMax", {"keepdims": 0}),
        "size": ("Size", {}),
    }
    added = [
        make(op, [name], [f"{name}__{part}"], **options) for name in tensors for part, (op, options) in parts.items()
    ]
    running = open_probe_session(model, [node.output[0] for node in added], scratch, added)
    ranges: Ranges = {}
    sizes = dict.fromkeys(tensors, 0)
    for found in run_batches(running, batches(), say, "least and greatest values"):
        for name in tensors:
            least, most, size = (found[f"{name}__{part}"] for part in parts)
            # The neutral ends of an empty range.
            old = ranges.get(name, (float("inf"), float("-inf")))
            ranges[name] = (min(old[0], float(least)), max(old[1], float(most)))
            # Four bytes for each float32.
            sizes[name] = max(sizes[name], 4 * int(size))
    if tensors and not ranges:
        raise SourceError("there is no data to calibrate with", "add rows to the calibration data")
    return ranges, sizes


def _groups(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Yield tensors to look at together: at least one, and no more than ``GROUP_BYTES``."""
    group: list[str] = []
    held = 0
    for name, size in sizes.items():
        if group and held + size > GROUP_BYTES:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    if group:
        yield group
