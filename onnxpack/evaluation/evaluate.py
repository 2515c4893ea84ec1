"""The scores of the source model and of every ONNX file made from it, on the same evaluation data.

Scores are computed on what a client gets: the outputs after ``postprocess``. All but ``compute_degradation`` runs in
child processes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.core.errors import GateError, SpecError
from onnxpack.core.text import with_article
from onnxpack.core.values import Score
from onnxpack.data.datasets import open_dataset
from onnxpack.data.test_inputs import Arrays, read_arrays, write_arrays
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import LOWER_IS_BETTER, Evaluation
from onnxpack.spec.origin import is_code
from onnxpack.transforms.outputs import apply_postprocess
from onnxpack.worker.user_code import call_function, import_attribute

EVALUATION = "evaluation.npz"
"""The file in an export that holds the source model's outputs for all rows, and the labels."""
_OUTPUT = "outputs/"
_LABELS = "labels"
_BATCH = 32  # rows
Array = np.ndarray[Any, Any]


def record(file: SpecFile, path: Path, answer: Callable[[Arrays], Arrays]) -> None:
    """Run the source model on the evaluation data and write its outputs; ``answer`` runs it with ``preprocess``.

    Raises:
        SpecError: the data is not readable or does not fit, or no output has as many rows as the data.
    """
    outputs, labels = _collect_outputs(file, lambda sent: apply_postprocess(file, answer(sent)))
    kept = {f"{_OUTPUT}{name}": array for name, array in outputs.items()}
    if labels is not None:
        kept[_LABELS] = labels
    write_arrays(path, kept)


def score_source(file: SpecFile, path: Path) -> Score:
    """Return the score of the source model, from its outputs in the file ``path``.

    Raises:
        GateError: the metric has no value for these outputs.
        SourceError: the user's metric raised, or scikit-learn is missing.
    """
    arrays = read_arrays(path)
    outputs = {name.removeprefix(_OUTPUT): array for name, array in arrays.items() if name != _LABELS}
    return _score(file, outputs, arrays.get(_LABELS))


def score_model(file: SpecFile, path: Path) -> Score:
    """Run an ONNX file that has its steps on the CPU, and return its score; raise as ``score_source`` does."""
    from onnxpack.graph.widen import open_cpu_session
    from onnxpack.parity.compare import clean_runtime_error

    running = open_cpu_session(path)
    names = [output.name for output in running.get_outputs()]

    def answer(sent: Arrays) -> Arrays:
        try:
            return dict(zip(names, running.run(None, sent), strict=True))
        except Exception as error:  # onnxruntime's exceptions share no base
            raise GateError(
                f"the model does not run on the evaluation data: {clean_runtime_error(error)}",
                "check the values in the data",
            ) from None

    return _score(file, *_collect_outputs(file, answer))


def compute_degradation(metric: str, source: float, model: float) -> float:
    """Return how much worse the model scores than its source; negative if it is better.

    The difference of scores is absolute: 0.98 instead of 0.99 is 0.01. Errors (mse, mae) and the user's own metric have
    no known scale, so their difference is relative to the source's value, unless that is 0.
    """
    worse = model - source if metric in LOWER_IS_BETTER else source - model
    relative = metric in LOWER_IS_BETTER or is_code(metric)
    return worse / abs(source) if relative and source else worse


def _collect_outputs(file: SpecFile, answer: Callable[[Arrays], Arrays]) -> tuple[Arrays, Array | None]:
    """Run a model on all rows; return the outputs that have one row for each, and the labels."""
    asked = _require_evaluation(file)
    columns = () if asked.labels is None else (asked.labels,)
    inputs = file.spec.inputs
    parts: list[Arrays] = []
    labels: list[Array] = []
    for batch in open_dataset(file, asked.data, "evaluation", columns).batches(_BATCH):
        rows = len(next(iter(batch.values())))
        outputs = answer({name: batch[name] for name in inputs})
        parts.append({name: array for name, array in outputs.items() if array.shape[:1] == (rows,)})
        labels += [batch[name] for name in columns]
    names = [name for name in parts[0] if all(name in part for part in parts)]
    if not names:
        raise SpecError("evaluation: no output has as many rows as the data", "give the outputs a batch axis")
    try:
        joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
        return joined, np.concatenate(labels) if labels else None
    except ValueError:
        hint = "give the data one size along every axis but the first"
        raise SpecError("evaluation: outputs of different rows have different shapes", hint) from None


def _score(file: SpecFile, outputs: Arrays, labels: Array | None) -> Score:
    asked = _require_evaluation(file)
    if is_code(asked.metric):
        score = _call_metric(file, asked.metric, outputs, labels)
    else:
        from onnxpack.evaluation.score import compute_built_in  # a metric of the user's own does not depend on it

        assert labels is not None  # a rule of the spec
        score = compute_built_in(asked.metric, outputs, labels, asked.classes or ())
    return Score(score, len(next(iter(outputs.values()))))


def _call_metric(file: SpecFile, metric: str, outputs: Arrays, labels: Array | None) -> float:
    hint = "call it by hand, with a dict of outputs by name and the labels, to see the cause"
    value = call_function(import_attribute(file, metric), metric, hint, outputs, labels)
    try:
        score = float(value)
    except (TypeError, ValueError):
        raise GateError(
            f"evaluation: {metric} returned {with_article(type(value).__name__)}", "return one number"
        ) from None
    except OverflowError:
        score = float("inf")
    if not np.isfinite(score):
        raise GateError(f"evaluation: {metric} is {score}", "check the outputs and the labels")
    return score


def _require_evaluation(file: SpecFile) -> Evaluation:
    if file.spec.evaluation is None:
        raise SpecError("the spec has no evaluation", "add `evaluation: {data: validation.npz, labels: y}`")
    return file.spec.evaluation
