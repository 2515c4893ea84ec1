"""Rank layers by what each alone costs in 8 bits, to choose which to leave in float32 first."""

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from onnxpack.data.test_inputs import Arrays
from onnxpack.graph.check import open_session
from onnxpack.precision import Samples, Wish
from onnxpack.precision.calibration import Ranges
from onnxpack.precision.int8_static import load, quantize
from onnxpack.precision.prepare import find_carried_nodes
from onnxpack.precision.reduce import BATCH_ROWS, make_job, save_model
from onnxpack.precision.selection import Selection, select_nodes

_ROWS = 64
EXACT_DB = 200.0
"""What a layer gets that changes nothing that float64 could tell."""


@dataclass(frozen=True)
class Ranked:
    """Layers with the SQNR in decibels when each alone has 8 bits, the worst first."""

    layers: tuple[tuple[str, float], ...]
    complete: bool
    """False where the time was over before all layers were tried."""


@dataclass(frozen=True)
class Prepared:
    """A graph that was prepared for int8-static, the ranges of its tensors, and the nodes to quantize."""

    graph: onnx.ModelProto
    ranges: Ranges
    selection: Selection


def rank_layers(
    path: Path, scratch: Path, calibration: Path, wish: Wish, samples: Samples, seconds: float = 120.0
) -> Ranked:
    """Rank the layers of int8-static in the float32 file ``path``.

    ``calibration`` is the folder of ``reduce.calibrate_model``; the names are of the graph in it, as ``Wish.without``
    takes them. The signal is that of the worst output over some rows of the calibration data, or of the Reference.
    When the time is over, layers that were not reached are left out: the largest are tried first.
    """
    folder = scratch / "sensitivity"
    folder.mkdir()
    try:
        job = make_job(path, wish, samples, folder)
        graph, ranges = load(calibration)
        selection = select_nodes(
            graph, find_carried_nodes(job.excluded, job.model, graph) | frozenset(job.wish.without), ranges
        )
        # Rounded up to whole batches.
        data = list(islice(job.batches() if job.batches else job.cases(), -(-_ROWS // BATCH_ROWS)))
        return rank(Prepared(graph, ranges, selection), job.wish, data, folder, seconds)
    finally:
        shutil.rmtree(folder)


def rank(prepared: Prepared, wish: Wish, data: list[Arrays], scratch: Path, seconds: float) -> Ranked:
    """Rank the layers of a prepared graph, as ``rank_layers`` does."""
    until = time.monotonic() + seconds
    right = list(_run_batches(_save_and_load(prepared.graph, scratch), data))
    found: list[tuple[str, float]] = []
    for layer in _sort_by_size(prepared.graph, prepared.selection.layers):
        # At least one, however short the time is: an empty ranking would leave nothing to choose from.
        if found and time.monotonic() > until:
            break
        one = quantize(_copy(prepared.graph), prepared.ranges, prepared.selection.only(layer), wish).model
        found.append((layer, compute_signal_to_noise(right, _run_batches(_save_and_load(one, scratch), data))))
    ranked = sorted(found, key=lambda item: (item[1], item[0]))
    return Ranked(tuple(ranked), len(ranked) == len(prepared.selection.layers))


def compute_signal_to_noise(
    right: Iterable[list[np.ndarray[Any, Any]]], got: Iterable[list[np.ndarray[Any, Any]]]
) -> float:
    """Return the SQNR of the worst numeric output in decibels, ``10 · log10(Σ e² / Σ (e - a)²)`` over all batches."""
    signal: dict[int, float] = {}
    noise: dict[int, float] = {}
    for expected, actual in zip(right, got, strict=True):
        for place, (e, a) in enumerate(zip(expected, actual, strict=True)):
            if e.dtype.kind not in "fiub":
                continue
            e, a = e.astype(np.float64), a.astype(np.float64)
            signal[place] = signal.get(place, 0.0) + float((e**2).sum())
            noise[place] = noise.get(place, 0.0) + float(((e - a) ** 2).sum())
    worst = EXACT_DB
    for place, power in signal.items():
        if not np.isfinite(noise[place]):
            return float("-inf")
        if noise[place] and power:
            worst = min(worst, 10 * float(np.log10(power / noise[place])))
    return worst


def _run_batches(running: ort.InferenceSession, data: list[Arrays]) -> Iterator[list[np.ndarray[Any, Any]]]:
    wanted = {item.name for item in running.get_inputs()}
    for batch in data:
        yield [np.asarray(value) for value in running.run(None, {k: v for k, v in batch.items() if k in wanted})]


def _save_and_load(model: onnx.ModelProto, scratch: Path) -> ort.InferenceSession:
    path = scratch / "layer.onnx"
    save_model(model, path)
    running = open_session(path)
    for file in scratch.glob("layer.onnx*"):
        file.unlink()
    return running


def _copy(graph: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    return copy


def _sort_by_size(graph: onnx.ModelProto, layers: tuple[str, ...]) -> list[str]:
    """Sort layers by their number of weights, the largest first."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.graph.initializer}
    weights = {node.name: sizes.get(node.input[1], 0) for node in graph.graph.node if node.name in set(layers)}
    return sorted(layers, key=lambda layer: (-weights[layer], layer))
