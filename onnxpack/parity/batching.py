"""Judge whether a model answers each row of a batch as it answers that row alone.

A server may run the requests of several clients as one batch only if it does. A normalisation over the batch makes one
client's answer depend on another's request, and so does a scale that is computed for a whole tensor.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from onnxpack.core.values import Reference
from onnxpack.data.test_inputs import Arrays, read_arrays
from onnxpack.parity.compare import Comparison, Tolerance, clean_runtime_error, compare_cases
from onnxpack.parity.quantization_noise import compute_spreads

_MOST_REQUESTS = 64
"""The requests of one shape that are also run alone; the rest of a larger batch repeats them."""
_MOST_SHAPES = 8
_MOST_BYTES = 2**28
"""The inputs of one batch."""

Answer = Callable[[Arrays], Arrays]
Request = tuple[str, Arrays]
"""Where the rows are from, and the inputs."""


def compare_batches(model: Path, reference: Reference, tolerance: Tolerance, least: int, most: int) -> list[Comparison]:
    """Run rows of different cases together, and compare the answers with those to each of them alone.

    A request has ``least`` rows, a batch two requests or up to ``most`` rows. A failed comparison's case names the row.
    It is empty if no two requests have equal shapes.
    """
    from onnxpack.graph.widen import open_cpu_session

    running = open_cpu_session(model)
    tolerance = replace(tolerance, units=reference.units)
    names = [output.name for output in running.get_outputs()]

    def answer(inputs: Arrays) -> Arrays:
        try:
            return dict(zip(names, running.run(None, inputs), strict=True))
        except Exception as error:  # onnxruntime's exceptions share no base
            raise _RefusedError(clean_runtime_error(error)) from None

    spreads = compute_spreads(reference.folder, reference.cases)
    rows: list[Comparison] = []
    for requests in group_requests(reference, tolerance.precision, least):
        try:
            alone = [answer(inputs) for _, inputs in requests]
            for size in _choose_sizes(requests[0][1], least, most):
                case = _run_batch(answer, requests, alone, size)
                rows += [_name_row(row, case, requests, least) for row in compare_cases([case], tolerance, spreads)]
        except _RefusedError as error:
            words = f"it does not run: {error}"
            rows.append(Comparison(requests[0][0], ", ".join(names), 0.0, 0.0, words, what="error"))
    return rows


class _RefusedError(Exception):
    """The runtime refuses to run the model on some inputs."""


def group_requests(reference: Reference, precision: str, least: int) -> list[list[Request]]:
    """Return requests of ``least`` rows that can run together: lists of two and more with equal shapes behind the rows.

    They are taken from all cases in turn, so that neighbours come from different ones.
    """
    groups: dict[tuple[tuple[int, ...], ...], list[list[Request]]] = {}
    for case in reference.select_cases(precision):
        inputs = read_arrays(reference.folder / f"{case}.inputs.npz")
        count = min(min(map(len, inputs.values())) // least, _MOST_REQUESTS)
        found = [
            # Copies, so that a large case is not kept for a few rows of it.
            (f"row {start} of {case}", {name: array[start : start + least].copy() for name, array in inputs.items()})
            for start in range(0, count * least, least)
        ]
        groups.setdefault(tuple(array.shape[1:] for array in inputs.values()), []).append(found)
    joined = [
        [request for request in chain.from_iterable(zip_longest(*cases)) if request][:_MOST_REQUESTS]
        for cases in groups.values()
    ]
    return [requests for requests in joined if len(requests) > 1][:_MOST_SHAPES]


def _choose_sizes(inputs: Arrays, least: int, most: int) -> Iterator[int]:
    """Yield how many requests a batch has: two, and as many as fill it."""
    size = sum(array.nbytes for array in inputs.values())
    yield from sorted({2, max(2, min(most // least, _MOST_BYTES // max(size, 1)))})


def _run_batch(answer: Answer, requests: list[Request], alone: list[Arrays], size: int) -> tuple[str, Arrays, Arrays]:
    """Return a case: its name, the answers to the requests alone, and their part of the batch's answers."""
    chosen = [requests[index % len(requests)][1] for index in range(size)]
    together = answer({name: np.concatenate([inputs[name] for inputs in chosen]) for name in chosen[0]})
    compared = alone[: min(size, len(requests))]
    expected = {name: np.concatenate([outputs[name] for outputs in compared]) for name in compared[0]}
    rows = sum(len(inputs[next(iter(inputs))]) for inputs in chosen)
    # An output of another number of rows stays as it is, and differs by its shape.
    actual = {
        name: array[: len(expected[name])] if array.shape[:1] == (rows,) else array for name, array in together.items()
    }
    return f"{rows} rows", expected, actual


def _name_row(row: Comparison, case: tuple[str, Arrays, Arrays], requests: list[Request], least: int) -> Comparison:
    """Give a failed comparison the name of the row that differs most."""
    name, expected, actual = case
    right, got = expected[row.output], actual[row.output]
    if not row.reason or right.shape != got.shape:
        return row
    with np.errstate(invalid="ignore"):
        apart = np.abs(right.astype(np.float64) - got) if right.dtype.kind == "f" else np.asarray(right != got)
    worst = int(np.nan_to_num(apart, nan=np.inf).reshape(len(right), -1).max(1).argmax())
    return replace(row, case=f"{requests[worst // least][0]} in a batch of {name}")
