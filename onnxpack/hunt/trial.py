"""Run the source and the exported model on the same inputs, and measure how far apart they are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.data.domains import get_numpy_dtype, list_domains
from onnxpack.data.test_inputs import Arrays
from onnxpack.parity.compare import choose_tolerance, clean_runtime_error, compare_case
from onnxpack.spec.model import Spec

Answer = Callable[[Arrays], list[np.ndarray[Any, Any]]]
"""The source model: inputs by name, outputs in order. It may raise anything."""

_NUDGE = 1e-5
"""Relative; a hundred units of float32's last place, and a hundredth of its tolerance: what rounding may come to."""

_NUDGES = 8
"""How often: of two equal elements the one that a source names goes on being the larger in half of them."""
_LEAST_SHARE = 1e-3
"""Of the largest value that is declared: how large a value near zero counts for."""


@dataclass(frozen=True)
class Case:
    """Inputs that a search found worth comparing, and the source's answers, which enter the Reference."""

    name: str
    inputs: Arrays
    outputs: Arrays


@dataclass
class Findings:
    """The cases that a search found, and notes for the report."""

    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """One run of both models on the same inputs; ``actual`` is empty where the export fails, ``failure`` says why."""

    inputs: Arrays
    expected: Arrays
    actual: Arrays
    failure: str = ""


class Trials:
    """Runs the source model and the exported file on the same inputs."""

    def __init__(self, spec: Spec, model: Path, answer: Answer) -> None:
        from onnxpack.graph.widen import open_cpu_session

        self.spec, self.answer = spec, answer
        self._session = open_cpu_session(model)
        self.outputs = [output.name for output in self._session.get_outputs()]

    def expect(self, inputs: Arrays) -> Arrays | None:
        """Return the source's outputs by name; None where it refuses the inputs."""
        try:
            with np.errstate(all="ignore"):
                answers = self.answer({name: array.copy() for name, array in inputs.items()})
        except Exception:  # a user's forward pass may raise anything; what it refuses is nothing to compare
            return None
        return dict(zip(self.outputs, answers, strict=True)) if len(answers) == len(self.outputs) else None

    def run(self, inputs: Arrays) -> Trial | None:
        """Run both models; return None where the source refuses the inputs."""
        expected = self.expect(inputs)
        if expected is None:
            return None
        try:
            answers = self._session.run(None, inputs)
        except Exception as error:  # onnxruntime's exceptions share no base
            return Trial(inputs, expected, {}, clean_runtime_error(error))
        return Trial(inputs, expected, dict(zip(self.outputs, answers, strict=True)))

    def differs(self, trial: Trial) -> bool:
        """Return whether the build's own comparison would fail on these inputs."""
        if not trial.actual:
            return True
        return any(row.reason for row in self._rows(trial.expected, trial.actual))

    def is_cliff(self, trial: Trial) -> bool:
        """Return whether the source itself jumps here: a change as small as rounding changes its answer as much.

        Such a difference says nothing about the export: argmax of equals, a round of a half, a row without variance.
        """
        # A fixed seed: the same trial must be judged the same way each time.
        generator = np.random.default_rng(0)
        for _ in range(_NUDGES):
            moved = {name: self._nudge(name, array, generator) for name, array in trial.inputs.items()}
            other = self.expect(moved)
            if other is None or any(row.reason for row in self._rows(trial.expected, other)):
                return True
        return False

    def case(self, name: str, trial: Trial) -> Case:
        """Return a trial as a case of the Reference."""
        return Case(name, trial.inputs, trial.expected)

    def _rows(self, expected: Arrays, actual: Arrays) -> Any:
        return compare_case("", expected, actual, self.spec.verify.rtol, self.spec.verify.atol)

    def _nudge(self, name: str, array: Any, generator: np.random.Generator) -> Any:
        """Return floats changed by about as much as rounding, within the values that the spec declares."""
        tensor = self.spec.inputs[name]
        if get_numpy_dtype(tensor).kind != "f":
            return array
        found = list_domains(tensor)
        low, high = (np.array([domain.ends[end] for domain in found], np.float64) for end in (0, 1))
        size = np.abs(array) + _LEAST_SHARE * np.maximum(np.abs(low), np.abs(high))  # zero moves too
        moved = array + _NUDGE * size * generator.uniform(-1, 1, array.shape)
        # Reflected at the ends: clipping would leave a value that stands at an end where it was.
        moved = np.where(moved > high, 2 * high - moved, np.where(moved < low, 2 * low - moved, moved))
        return np.clip(moved, low, high).astype(array.dtype)


def score_rows(spec: Spec, trial: Trial, rows: int) -> np.ndarray[Any, Any]:
    """Return how far apart both are in each of ``rows`` rows, float64 [rows], in multiples of the tolerance.

    Outputs without that many rows count for all of them. What no number can say (another shape, NaN, a label) is far.
    """
    scores = np.zeros(rows)
    if not trial.actual:
        return scores + np.inf
    for name, right in trial.expected.items():
        got = trial.actual[name]
        if right.shape != got.shape:
            return scores + np.inf
        if not right.size:
            continue
        apart = _apart(spec, right, got)
        by_row = apart.reshape(rows, -1).max(axis=1) if right.shape[:1] == (rows,) else apart.max()
        scores = np.maximum(scores, by_row)
    return scores


def _apart(spec: Spec, right: Any, got: Any) -> np.ndarray[Any, Any]:
    if right.dtype.kind != "f" or got.dtype.kind != "f":
        return np.where(right == got, 0.0, np.inf)
    rtol, atol = choose_tolerance(right.dtype.name, rtol=spec.verify.rtol, atol=spec.verify.atol)
    with np.errstate(all="ignore"):
        expected, actual = right.astype(np.float64), got.astype(np.float64)
        # 1e-300 keeps 0 / 0 of exact zero tolerances from becoming NaN.
        share = np.abs(expected - actual) / (atol + rtol * np.abs(expected) + 1e-300)
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    return np.where(same, 0.0, np.where(np.isnan(share), np.inf, share))
