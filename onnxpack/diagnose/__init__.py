"""Finds where an exported model leaves its source; it runs after a failed comparison, in a child process.

A framework that can show its intermediates has a module here, named as its source, with one function::

    place(source, model, file, work, inputs, judge) -> str

It gives words for a person, or raises ``UnknownPlaceError``. Values are captured at the smallest case that fails, up to
``graphs.MAX_BYTES``; the time is the caller's to bound.
"""

import importlib
import importlib.util
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpack.core.errors import OnnxpackError, describe_error
from onnxpack.core.values import MODEL, Reference
from onnxpack.data.test_inputs import Arrays, choose_tracing_sizes, draw
from onnxpack.diagnose.axes import find_baked_axes, list_stopped_nodes
from onnxpack.diagnose.graphs import find_first_difference, run_all
from onnxpack.diagnose.second_runtime import vote
from onnxpack.parity.compare import Tolerance, choose_tolerance, compare, compare_case, read_case
from onnxpack.sources import Source
from onnxpack.spec.load import SpecFile


class UnknownPlaceError(Exception):
    """The place where a model differs cannot be found; the message says why."""


@dataclass(frozen=True)
class Judge:
    """The tolerances of the comparison that failed."""

    rtol: float | None
    atol: float | None
    precision: str

    def agrees(self, expected: Any, actual: Any) -> bool:
        """Return whether two intermediate values are the same within the tolerance."""
        tolerance = choose_tolerance(expected.dtype.name, self.precision, self.rtol, self.atol)
        return not compare("", "", expected, actual, *tolerance).reason

    def outputs_agree(self, expected: Arrays, actual: list[Any]) -> bool:
        """Return whether a graph's outputs, in order, are the source's."""
        if len(expected) != len(actual):
            return False
        named = dict(zip(expected, actual, strict=True))
        return not any(row.reason for row in compare_case("", expected, named, self.rtol, self.atol, self.precision))


Place = Callable[[Source, Any, SpecFile, Path, Arrays, Judge], str]


def locate(file: SpecFile, model: Path, reference: Reference, reasons: dict[str, str], tolerance: Tolerance) -> str:
    """Return lines that say where it differs: the axis that is baked in, the operator, the module, the user's line.

    The last line is what a second runtime says. Whatever fails in the search becomes a line too, and is not raised.

    ``reasons`` has the first difference of each case that failed. A case that was searched for is looked at only where
    no other one fails: what a model makes of extreme values says less to a person.
    """
    judge = Judge(tolerance.rtol, tolerance.atol, tolerance.precision)
    sizes = reference.all_sizes
    case = min(reasons, key=lambda name: (name in reference.hunted, *_weight(sizes[name])))
    inputs, expected = read_case(reference.folder, case)
    with tempfile.TemporaryDirectory() as work:
        try:
            failed = _Failed(file, model, Path(work), inputs, expected, judge)
            lines = failed.find_baked_axes([sizes[name] for name in reasons]) + list_stopped_nodes(reasons.values())
            lines.append(f"at case {case}: {failed.find_place()}")
        except UnknownPlaceError as unknown:
            lines = [*list_stopped_nodes(reasons.values()), f"the first operator that differs was not found: {unknown}"]
        except (Exception, SystemExit) as error:  # the user's code runs, watched, and may do anything
            words = describe_error(error, 300)
            lines = [*list_stopped_nodes(reasons.values()), f"where it differs was not found: {words}"]
    return "\n".join([*lines, *_vote(model, reference.folder, case, judge)])


def _vote(model: Path, reference: Path, case: str, judge: Judge) -> list[str]:
    """Return a line on which of the two a second runtime agrees with; none where it cannot say."""
    try:
        inputs, expected = read_case(reference, case)
        return vote(model, inputs, expected, judge.outputs_agree)
    except Exception as error:  # what a second runtime cannot run says nothing about the first
        words = describe_error(error, 200)
        return [f"onnx's reference evaluator has no say: {words}"]


def _weight(at: dict[str, int]) -> tuple[bool, int]:
    """Return a sort key that puts the smallest case first, and an empty one, which shows nothing, last."""
    count = math.prod(at.values())
    return not count, count


class _Failed:
    """A comparison that failed, with its source loaded and exported once more under observation."""

    def __init__(
        self, file: SpecFile, shipped: Path, work: Path, inputs: Arrays, expected: Arrays, judge: Judge
    ) -> None:
        self.file, self.shipped, self.work, self.inputs, self.judge = file, shipped, work, inputs, judge
        self.source: Any = importlib.import_module(f"onnxpack.sources.{file.spec.model.framework}")
        example = draw(file.spec, choose_tracing_sizes(file.spec.axes), 0)
        try:
            self.model = self.source.load(file)
            self.source.export(self.model, file, example, len(expected), work / MODEL)
            self.answers = self._run(inputs)
        except OnnxpackError as error:
            raise UnknownPlaceError(error.problems[0].message) from None
        self.steady = judge.outputs_agree(expected, self.answers)
        """Whether this load of the source gives the same answers as the load that was exported."""

    def _run(self, inputs: Arrays) -> list[Any]:
        # A model may write into its inputs, which the export is run on as well.
        answers: list[Any] = self.source.run(self.model, {name: array.copy() for name, array in inputs.items()})
        return answers

    def _name_by_place(self, answers: list[Any]) -> Arrays:
        return {str(index): answer for index, answer in enumerate(answers)}

    def find_baked_axes(self, failing: list[dict[str, int]]) -> list[str]:
        """Find the axes that the export fixed, with a few more sizes; see ``axes.find_baked_axes``."""

        def works(at: dict[str, int]) -> bool:
            inputs = draw(self.file.spec, at, 0)
            try:
                expected = self._run(inputs)
            except Exception:  # a user's forward pass may raise anything; its own limits are no fault of the export
                return True
            actual = run_all(self.shipped, inputs, ())
            if isinstance(actual, str):
                return False
            if self.steady:
                return self.judge.outputs_agree(self._name_by_place(expected), list(actual.values()))
            return [array.shape for array in expected] == [array.shape for array in actual.values()]

        return find_baked_axes(self.file.spec.axes, failing, works)

    def find_place(self) -> str:
        """Find out whether the framework's own export is wrong already, and then which of its operators is."""
        raw = run_all(self.work / MODEL, self.inputs, ())
        if not isinstance(raw, str) and self.judge.outputs_agree(self._name_by_place(self.answers), list(raw.values())):
            if not self.steady:
                raise UnknownPlaceError(
                    "the source answers differently each time it is loaded: set `model.weights`, or seed its randomness"
                )
            words = find_first_difference(self.work / MODEL, self.shipped, self.inputs, self.judge.agrees)
            return words or "the framework's own export agrees, so a later stage changed it"
        framework = self.file.spec.model.framework
        name = f"onnxpack.diagnose.{framework}"
        if importlib.util.find_spec(name) is None:
            raise UnknownPlaceError(f"onnxpack cannot look inside a {framework} model")
        place: Place = importlib.import_module(name).place
        return place(self.source, self.model, self.file, self.work, self.inputs, self.judge)
