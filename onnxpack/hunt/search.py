"""Search for a network's inputs on which the exported model is as far from its source as possible.

A small evolution: of all inputs so far the worst are changed at random, their changes compared, and the worst kept. It
needs no gradient, so it is the same for every framework. Its length depends on the model's cost, not on the clock.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.data.case_budget import count_input_bytes
from onnxpack.data.domains import draw_array, fit_rows, get_numpy_dtype, list_domains
from onnxpack.data.test_inputs import Arrays
from onnxpack.hunt.cost import estimate_run_cost
from onnxpack.hunt.extremes import choose_smallest_sizes, draw_mixed_rows, fill, make_corner_cases, make_tiny_case
from onnxpack.hunt.trial import Case, Findings, Trials, score_rows
from onnxpack.spec.model import Spec

COST = 400_000_000
"""Of all runs of the search together, as ``estimate_run_cost`` counts: 0.2 to 0.5 s on one core of 2026."""
MOST_BYTES = 2**28
"""Of all inputs and answers that are held at once."""
_MOST_ROUNDS = 16
_ROWS = 16
"""Inputs that are tried at once where the model takes them as rows of one batch."""
_SINGLES = 4
"""Inputs that are tried in one round where each needs a run of its own."""
_KEPT = 8
_SHARES = (0.02, 0.2, 1.0)
"""How many of an input's elements a change concerns."""


def _bytes(case: Case) -> int:
    return sum(array.nbytes for array in (*case.inputs.values(), *case.outputs.values()))


@dataclass
class Population:
    """Inputs, and on each how far apart both models are, in multiples of the tolerance."""

    inputs: list[Arrays]
    scores: list[float]

    def keep(self, count: int) -> None:
        """Keep the inputs that are furthest apart; among equals the first."""
        # Stable, so that the same scores give the same inputs on every machine.
        order = np.argsort([-score for score in self.scores], kind="stable")[:count]
        self.inputs = [self.inputs[index] for index in order]
        self.scores = [self.scores[index] for index in order]


def search_network(trials: Trials, model: Path) -> Findings:
    """Return the corner cases of the declared values, and the inputs that a search finds."""
    spec = trials.spec
    findings = Findings()
    # Asked before anything is drawn: an input may be larger than the memory.
    size = count_input_bytes(spec, choose_smallest_sizes(spec.axes))
    if size > MOST_BYTES // 8:
        findings.notes.append(f"only random inputs are compared: one takes {size / 2**20:.0f} MiB")
        return findings
    _add_cases(findings, trials, make_corner_cases(spec))
    largest = max((_bytes(case) for case in findings.cases), default=size)
    if largest > MOST_BYTES // 64:
        findings.notes.append(f"no inputs are searched: one and its answer take {largest / 2**20:.0f} MiB")
        return findings
    tiny = make_tiny_case(spec)
    if tiny is not None:
        _add_cases(findings, trials, [("tiny", tiny)])
    found = climb(trials, np.random.default_rng([spec.verify.seed, 0]), lambda first: _rounds(model, first))
    _add_found(findings, trials, found)
    return findings


def climb(trials: Trials, generator: np.random.Generator, rounds: Callable[[Arrays], int]) -> Population:
    """Return the inputs on which both models are furthest apart, after the rounds that ``rounds`` allows.

    ``rounds`` is given the inputs of one run.
    """
    spec = trials.spec
    at_once = count_rows_tried(spec)
    count = at_once if at_once > 1 else _SINGLES
    found = Population([], [])
    first = list(draw_mixed_rows(spec, generator))
    most = rounds(stack(first[:at_once]))
    _try_candidates(trials, found, first[: count * most], at_once)
    for _ in range(most - 1):
        if not found.inputs:
            break
        found.keep(_KEPT)
        _try_candidates(trials, found, [_change(spec, found.inputs, generator) for _ in range(count)], at_once)
    found.keep(_KEPT)
    return found


def count_rows_tried(spec: Spec) -> int:
    """Return how many inputs go into one run as rows of a batch; 1 where each needs a run of its own."""
    rows = spec.row_axis
    return min(_ROWS, spec.dynamic_axes[rows].max) if rows and spec.dynamic_axes[rows].min <= 1 else 1


def _rounds(model: Path, first: Arrays) -> int:
    runs = 1 if len(next(iter(first.values()), ())) > 1 else _SINGLES
    return min(_MOST_ROUNDS, max(1, COST // (estimate_run_cost(model, first) * runs)))


def _try_candidates(trials: Trials, found: Population, candidates: list[Arrays], at_once: int) -> None:
    """Run the candidates, and record how far apart both models are on each."""
    for start in range(0, len(candidates), at_once):
        part = candidates[start : start + at_once]
        trial = trials.run(stack(part))
        if trial is None:
            continue
        scores = score_rows(trials.spec, trial, len(part))
        found.inputs += part
        found.scores += scores.tolist()


def stack(parts: list[Arrays]) -> Arrays:
    """Concatenate single rows to one batch."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _change(spec: Spec, parents: list[Arrays], generator: np.random.Generator) -> Arrays:
    """Return one parent with a share of its elements changed in one of five ways."""
    one, other = (parents[index] for index in generator.integers(0, len(parents), 2))
    way = int(generator.integers(0, 5))
    share = generator.choice(_SHARES)
    child = {}
    for name, tensor in spec.inputs.items():
        array = one[name]
        chosen = generator.random(array.shape) < share
        if way == 0:
            new: Any = draw_array(tensor, array.shape, generator)
        elif way == 1:
            new = fill(tensor, array.shape, float(generator.integers(0, 2)))
        elif way == 2:
            new = other[name]
        elif way == 3:
            new = _scale(spec, name, array, float(generator.choice([0.5, 0.9, 1.2, 2.0])))
        else:
            new = fill(tensor, array.shape, 0.5)
        changed = np.where(chosen, new, array).astype(array.dtype if array.dtype.kind != "U" else new.dtype)
        child[name] = fit_rows(changed, tensor, generator)
    return child


def _scale(spec: Spec, name: str, array: Any, factor: float) -> Any:
    """Move floats away from the middle of their domain, or towards it, within its ends."""
    tensor = spec.inputs[name]
    if get_numpy_dtype(tensor).kind != "f" or any(found.choices or found.whole for found in list_domains(tensor)):
        return array
    low, middle, high = (fill(tensor, array.shape, share) for share in (0.0, 0.5, 1.0))
    return np.clip(middle + (array - middle) * factor, low, high)


def _add_cases(findings: Findings, trials: Trials, cases: Iterable[tuple[str, Arrays]]) -> None:
    """Add inputs as cases, except those that the source refuses and those where the source itself jumps."""
    for word, inputs in cases:
        trial = trials.run(inputs)
        if trial is None:
            continue
        if trials.differs(trial) and trials.is_cliff(trial):
            findings.notes.append(f"{word} inputs are not compared: the source's own answer jumps there")
            continue
        findings.cases.append(trials.case(f"hunt_{word}", trial))


def _add_found(findings: Findings, trials: Trials, found: Population) -> None:
    """Add the inputs that are furthest apart, as one batch where the model takes one."""
    at_once, kept = count_rows_tried(trials.spec), []
    for inputs, score in zip(found.inputs, found.scores, strict=True):
        # Over 1 is beyond the tolerance: worth one more run to see whether the source itself jumps there.
        if score > 1:
            alone = trials.run(inputs)
            if alone is None or (trials.differs(alone) and trials.is_cliff(alone)):
                continue
        kept.append(inputs)
    if at_once == 1:
        _add_cases(findings, trials, ((f"search_{index}", inputs) for index, inputs in enumerate(kept[:2])))
    elif kept:
        _add_cases(findings, trials, [("search", stack(kept[:at_once]))])
