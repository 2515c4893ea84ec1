"""How good a model is by the user's own measure: on the same data, the source model and every ONNX file made of it.

What is judged is what a client gets: behind ``postprocess``. All but ``degradation`` runs in child
processes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.dataset import open_dataset
from onnxpack.errors import GateError, SpecError
from onnxpack.samples import Arrays, read_arrays, write_arrays
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import LOWER_IS_BETTER, Evaluation
from onnxpack.spec.origin import is_code
from onnxpack.steps import postprocessed
from onnxpack.user_code import attribute, called
from onnxpack.values import Score

EVALUATION = "evaluation.npz"
"""In an export: the source model's outputs for all rows, and their labels."""
_OUTPUT = "outputs/"
_LABELS = "labels"
_BATCH = 32
Array = np.ndarray[Any, Any]


def record(file: SpecFile, path: Path, answer: Callable[[Arrays], Arrays]) -> None:
    """Write the source model's outputs for the evaluation data; ``answer`` is the model behind ``preprocess``.

    Raises:
        SpecError: the data is not readable or does not fit, or no output has a row for each of its rows.
    """
    outputs, labels = _collected(file, lambda sent: postprocessed(file, answer(sent)))
    kept = {f"{_OUTPUT}{name}": array for name, array in outputs.items()}
    if labels is not None:
        kept[_LABELS] = labels
    write_arrays(path, kept)


def score_source(file: SpecFile, path: Path) -> Score:
    """Return the metric of the source model, whose outputs the export left at ``path``.

    Raises:
        GateError: the metric has no value for these outputs.
        SourceError: the user's metric raised, or scikit-learn is missing.
    """
    arrays = read_arrays(path)
    outputs = {name.removeprefix(_OUTPUT): array for name, array in arrays.items() if name != _LABELS}
    return _score(file, outputs, arrays.get(_LABELS))


def score_model(file: SpecFile, path: Path) -> Score:
    """Return the metric of an ONNX file with the steps around it, run on the CPU; raises as ``score_source`` does."""
    from onnxpack.precision.widen import cpu_session
    from onnxpack.verify import runtime_words

    running = cpu_session(path)
    names = [output.name for output in running.get_outputs()]

    def answer(sent: Arrays) -> Arrays:
        try:
            return dict(zip(names, running.run(None, sent), strict=True))
        except Exception as error:  # onnxruntime's exceptions share no base
            raise GateError(
                f"the model does not run on the evaluation data: {runtime_words(error)}", "look at its values"
            ) from None

    return _score(file, *_collected(file, answer))


def degradation(metric: str, source: float, model: float) -> float:
    """How much worse the model is than its source; below zero where it is better.

    A score's loss is absolute: 0.98 instead of 0.99 is 0.01. Errors (mse, mae) and the user's own metric have no scale
    that is known, so theirs is relative to the source's value, unless that is 0.
    """
    worse = model - source if metric in LOWER_IS_BETTER else source - model
    relative = metric in LOWER_IS_BETTER or is_code(metric)
    return worse / abs(source) if relative and source else worse


def _collected(file: SpecFile, answer: Callable[[Arrays], Arrays]) -> tuple[Arrays, Array | None]:
    """The outputs for all rows that have one row for each of them, and the labels."""
    asked = _asked(file)
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
        raise SpecError("evaluation: no output has one row for each row of the data", "give the outputs a batch axis")
    try:
        joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
        return joined, np.concatenate(labels) if labels else None
    except ValueError:
        hint = "give the data one size along every axis but the first"
        raise SpecError("evaluation: outputs of different rows have different shapes", hint) from None


def _score(file: SpecFile, outputs: Arrays, labels: Array | None) -> Score:
    asked = _asked(file)
    if is_code(asked.metric):
        score = _users(file, asked.metric, outputs, labels)
    else:
        from onnxpack.score import built_in  # a metric of the user's own does not depend on it

        assert labels is not None  # a rule of the spec
        score = built_in(asked.metric, outputs, labels, asked.classes or ())
    return Score(score, len(next(iter(outputs.values()))))


def _users(file: SpecFile, metric: str, outputs: Arrays, labels: Array | None) -> float:
    hint = "call it by hand with a dict of outputs, by name, and the labels"
    value = called(attribute(file, metric), metric, hint, outputs, labels)
    try:
        score = float(value)
    except (TypeError, ValueError):
        raise GateError(f"evaluation: {metric} gave a {type(value).__name__}", "it must give one number") from None
    except OverflowError:
        score = float("inf")
    if not np.isfinite(score):
        raise GateError(f"evaluation: {metric} is {score}", "look at the outputs and the labels")
    return score


def _asked(file: SpecFile) -> Evaluation:
    if file.spec.evaluation is None:
        raise SpecError("the spec has no evaluation", "add `evaluation: {data: validation.npz, labels: y}`")
    return file.spec.evaluation
