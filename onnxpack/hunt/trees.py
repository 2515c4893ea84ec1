"""Make rows exactly at the splits of a model's trees: each threshold, and the floats just below and above it.

A split is only asked by a row that reaches it, so each row is led there: its features are moved to the sides that all
splits above ask for. Random rows almost never hit the one float32 at which a threshold that is off by one tells.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxpack.data.test_inputs import Arrays, draw
from onnxpack.hunt.columns import Column, Columns, find_columns
from onnxpack.hunt.forest import OPERATORS, Forest, find_paths, read_forest
from onnxpack.hunt.trial import Findings, Trials
from onnxpack.spec.model import Spec

Array = np.ndarray[Any, Any]

MOST_VISITS = 2_000_000
"""Rows times trees, over all cases: about 0.2 s of scikit-learn's time for a forest."""
MOST_BYTES = 2**25
"""Of all rows of one node together, as float32."""
_MOST_RUNS = 200
_MOST_CASES = 8
"""Cases that are kept where both models agree; each that differs is kept besides, as many again."""
_ROUNDING = 16
"""Units of float32's last place that a value behind a Scaler keeps away from a threshold: both round on the way."""


def hunt_trees(trials: Trials, path: Path) -> Findings:
    """Return cases at the splits of every tree in the exported file, and notes on what was not tried."""
    findings = Findings()
    graph = onnx.load(path, load_external_data=False).graph
    forests = [(read_forest(node), node) for node in graph.node if node.op_type in OPERATORS]
    total = sum(forest.splits.size for forest, _ in forests)
    at_once = count_rows_at_once(trials.spec)
    if not total:
        return findings
    if at_once is None:
        findings.notes.append(f"none of {total} splits of the trees is tried: the inputs have no common axis of rows")
        return findings
    # Every row visits every tree.
    limit = min(MOST_VISITS // sum(forest.roots.size for forest, _ in forests), _MOST_RUNS * at_once)
    reached, cases = 0, []
    for forest, node in forests:
        columns = find_columns(graph, node.input[0], trials.spec)
        if columns is None or not forest.splits.size:
            continue
        rows, done = make_rows_at_splits(trials.spec, forest, columns, max(limit // len(forests), 3))
        reached += done
        cases += list(_split_rows(rows, at_once))
    if reached < total:
        findings.notes.append(
            f"{reached} of {total} splits of the trees are tried at their thresholds: the others lie outside the "
            "declared values, behind other steps, or beyond what a build has time for"
        )
    _add_cases(findings, trials, cases)
    return findings


def count_rows_at_once(spec: Spec) -> int | None:
    """Return how many rows one run takes, by the dynamic axis or by the fixed shapes; None where neither says."""
    name = spec.row_axis
    if name:
        return spec.dynamic_axes[name].max
    size = spec.first_size
    return size if isinstance(size, int) and size else None


def make_rows_at_splits(spec: Spec, forest: Forest, columns: Columns, limit: int) -> tuple[Arrays, int]:
    """Return up to ``limit`` rows of every input, and how many splits have rows of their own on both sides.

    What a row's other features are is drawn at random, and moved where the way to the split asks for it.
    """
    generator = np.random.default_rng([spec.verify.seed, 2])
    features = len(columns)
    splits = forest.splits
    splits = splits[[columns[feature] is not None for feature in forest.feature[splits]]]
    # Three rows of float32 (4 bytes) for each split.
    most = max(1, min(limit // 3, MOST_BYTES // (12 * max(features, 1))))
    chosen = np.sort(generator.permutation(splits)[:most])
    low, high = find_paths(forest, features)
    low, high = low[chosen], high[chosen]
    base = _draw_rows(spec, len(chosen))
    values = np.stack([_features(base, column, len(chosen)) for column in columns], axis=1)
    values = _move_between(values, low, high, columns)
    # Just below, at, and just above the threshold.
    made, sides = [], np.zeros(len(chosen), int)
    for index in range(3):
        rows = values.copy()
        own = forest.feature[chosen]
        wanted = np.array([
            _find_beside(float(value), index - 1, columns[feature])
            for value, feature in zip(forest.threshold[chosen], own, strict=True)
        ], np.float64)  # fmt: skip
        rows[np.arange(len(chosen)), own] = wanted
        fits = _within(rows, low, high, columns)
        # Rows on two of the three places stand on both sides of the split.
        sides += fits
        made.append((rows[fits], np.flatnonzero(fits)))
    numbers = np.concatenate([number for _, number in made])
    # The rows of one split stay together, so that they meet in one run.
    order = np.argsort(numbers, kind="stable")
    rows = np.concatenate([part for part, _ in made])[order]
    inputs = {name: array[numbers[order]] for name, array in base.items()}
    for index, column in enumerate(columns):
        if column is not None:
            flat = inputs[column.input].reshape(len(rows), -1)
            flat[:, column.place] = _as_input(rows[:, index], column, flat.dtype)
    return inputs, int((sides >= 2).sum())


def _draw_rows(spec: Spec, rows: int) -> Arrays:
    """Draw random rows of every input."""
    at = {axis.name: axis.opt for axis in spec.axes}
    name = spec.row_axis
    if name:
        return {key: array.copy() for key, array in draw(spec, at | {name: rows}, 2).items()}
    parts: dict[str, list[Array]] = {key: [] for key in spec.inputs}
    size = count_rows_at_once(spec) or 1
    for number in range(-(-rows // size)):
        for key, array in draw(spec, at, 2 + number).items():
            parts[key].append(array)
    return {key: np.concatenate(arrays)[:rows] for key, arrays in parts.items()}


def _features(base: Arrays, column: Column | None, rows: int) -> Array:
    """Return a feature's values as the trees see them; NaN where it does not come from an input."""
    if column is None:
        return np.full(rows, np.nan)
    own = base[column.input].reshape(rows, -1)[:, column.place].astype(np.float64)
    return (own - column.offset) * column.scale


def _as_input(values: Array, column: Column, dtype: Any) -> Array:
    """Return the input values that give a feature these values."""
    own = values / column.scale + column.offset
    return np.round(own).astype(dtype) if np.dtype(dtype).kind in "iub" else own.astype(dtype)


def _ends(column: Column) -> tuple[float, float]:
    """Return the least and the greatest value of a feature."""
    ends = sorted((float(end) - column.offset) * column.scale for end in column.domain.ends)
    return ends[0], ends[1]


def _margin(column: Column, value: Any) -> Any:
    """Return how far from ``value`` a feature may be by rounding."""
    if column.exact:
        return 0.0
    size = np.where(np.isfinite(value), np.abs(value), 0.0)  # a feature without an end may be anything
    return _ROUNDING * np.finfo(np.float32).eps * (size + abs(column.offset * column.scale))


def _find_beside(threshold: float, side: int, column: Column | None) -> float:
    """Return the value just below a threshold (side -1), at it (0) or just above it (1); NaN where no input has it."""
    assert column is not None
    if not column.exact:
        own = threshold + side * float(_margin(column, threshold))
        return own if side else np.nan
    domain = column.domain
    if domain.choices:
        known = sorted(float(choice) for choice in domain.choices)
        fits = [value for value in known if (value > threshold) - (value < threshold) == side]
        return (max(fits) if side < 0 else min(fits)) if fits else np.nan
    if domain.whole:
        whole = np.floor(threshold)
        if side == 0:
            return threshold if whole == threshold else np.nan
        return float(whole + 1 if side > 0 else (whole if whole < threshold else whole - 1))
    value = np.float32(threshold)
    return float(np.nextafter(value, np.float32(side * np.inf)) if side else value)


def _move_between(values: Array, low: Array, high: Array, columns: Columns) -> Array:
    """Return the rows with every feature moved between its ends where it was not."""
    moved = values.copy()
    for index, column in enumerate(columns):
        if column is None:
            continue
        first, last = _ends(column)
        # The margin keeps a value that rounds on its way from crossing the bound.
        least = np.maximum(low[:, index] + _margin(column, low[:, index]), first)
        most = np.minimum(high[:, index] - _margin(column, high[:, index]), last)
        outside = (values[:, index] < least) | (values[:, index] > most)
        if column.domain.choices:
            known = np.array(sorted((float(value) - column.offset) * column.scale for value in column.domain.choices))
            place = np.minimum(np.searchsorted(known, least), len(known) - 1)
            between = known[place]
        elif column.domain.whole and column.exact:
            between = np.ceil(least)
        else:
            between = (least + most) / 2
        moved[outside, index] = between[outside]
    return moved


def _within(rows: Array, low: Array, high: Array, columns: Columns) -> Array:
    """Return which rows reach their split with values that the spec declares, as bool [rows]."""
    fits = np.ones(len(rows), bool)
    for index, column in enumerate(columns):
        if column is None:
            continue
        first, last = _ends(column)
        slack = _margin(column, rows[:, index]) + 1e-7 * max(abs(first), abs(last))
        own = rows[:, index].astype(np.float32)
        with np.errstate(invalid="ignore"):
            fits &= (own >= low[:, index]) & (own <= high[:, index])
            fits &= (rows[:, index] >= first - slack) & (rows[:, index] <= last + slack)
    return fits


def _split_rows(rows: Arrays, at_once: int) -> Iterator[Arrays]:
    """Yield the rows in as few runs as possible."""
    count = len(next(iter(rows.values())))
    for start in range(0, count, at_once):
        yield {name: array[start : start + at_once] for name, array in rows.items()}


def _add_cases(findings: Findings, trials: Trials, cases: list[Arrays]) -> None:
    """Run the cases; keep the first that agree and the first that differ."""
    agreeing = differing = 0
    name = trials.spec.row_axis
    least = trials.spec.dynamic_axes[name].min if name else count_rows_at_once(trials.spec) or 1
    for part in cases:
        whole = {key: _repeat_last_row(array, least) for key, array in part.items()}
        trial = trials.run(whole)
        if trial is None:
            continue
        apart = trials.differs(trial)
        if (differing if apart else agreeing) < _MOST_CASES:
            findings.cases.append(trials.case(f"hunt_trees_{agreeing + differing:02}", trial))
        differing += apart
        agreeing += not apart


def _repeat_last_row(array: Array, least: int) -> Array:
    """Return an array of at least ``least`` rows; the last row is repeated."""
    missing = least - len(array)
    return array if missing <= 0 else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
