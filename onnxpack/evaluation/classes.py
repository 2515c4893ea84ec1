"""The mapping of labels and predictions to the same class numbers: the model's columns of scores, from 0."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpack.core.errors import SpecError
from onnxpack.core.text import plural
from onnxpack.data.test_inputs import Arrays

_SHOWN = 10
"""The number of labels that an error shows at most."""
Array = np.ndarray[Any, Any]


def drop_last_axis(array: Array) -> Array:
    """Return an array without its last axis if that has size 1."""
    return array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array


def convert_whole_labels(metric: str, labels: Array) -> Array:
    """Convert floats that are whole numbers, as tables have them, to integers; return other labels unchanged.

    Raises:
        SpecError: the labels have fractions.
    """
    if labels.dtype.kind != "f":
        return labels
    if not np.array_equal(labels, np.round(labels)):
        hint = "use the metric mse, mae or r2, or give class numbers as labels"
        raise SpecError(f"evaluation: {metric} compares classes, and the labels are {_list(labels)}", hint)
    return labels.astype(np.int64)


def number_outputs(outputs: Arrays, labels: Array, classes: Sequence[int | str]) -> Arrays:
    """Return the outputs that a metric can use, with predictions as column numbers.

    Texts of the labels' shape are looked up in ``classes``, and floats are scores. Integers of the labels' shape are
    used only if the model has neither, and are column numbers already. (A model whose integers are the labels
    themselves needs no ``classes``.)

    Raises:
        SpecError: a text is not in ``classes``, or an integer is no column's number.
    """
    texts = {name: array for name, array in outputs.items() if array.dtype.kind in "OUS" and _has_shape(array, labels)}
    numbered = {name: number_labels(array, classes, f"output '{name}'") for name, array in texts.items()}
    numbered |= {name: array for name, array in outputs.items() if array.dtype.kind == "f"}
    if any(_has_shape(array, labels) or array.shape[:-1] == labels.shape for array in numbered.values()):
        return numbered
    for name, array in outputs.items():
        if array.dtype.kind in "iu" and _has_shape(array, labels) and not _are_column_numbers(array, len(classes)):
            hint = "leave classes out if these are the labels themselves: then both are compared as they are"
            text = f"output '{name}' gives {_list(array)}, and the columns of {len(classes)} classes are numbered"
            raise SpecError(f"evaluation: {text} 0 to {len(classes) - 1}", hint)
    return outputs


def number_labels(labels: Array, classes: Sequence[int | str], whose: str) -> Array:
    """Return each label's column number, int64 in the labels' shape; ``classes`` has the columns' labels.

    Raises:
        SpecError: a label is not in ``classes``; ``whose`` says in the message where it was found.
    """
    text = labels.dtype.kind in "OUS"
    columns = {str(label) if text else label: number for number, label in enumerate(classes)}
    found, places = np.unique(labels.astype(str) if text else labels, return_inverse=True)
    unknown = [label for label in found.tolist() if label not in columns]
    if unknown or text != isinstance(classes[0], str):
        odd = _list(np.array(unknown)) if unknown else _list(found)
        kind = "texts" if text else "numbers"
        hint = f"classes has {_join(classes)}; list every label, as the {kind} that they are in {whose}"
        raise SpecError(f"evaluation: {whose} has labels that evaluation.classes lacks: {odd}", hint)
    numbers = np.array([columns[label] for label in found.tolist()], np.int64)
    return numbers[places].reshape(labels.shape)


def require_columns(name: str, count: int, labels: Array, classes: Sequence[int | str]) -> None:
    """Require that the labels are column numbers of the output ``name``, which has ``count`` columns.

    Raises:
        SpecError: they are not, or ``classes`` has another number of labels.
    """
    columns = f"output '{name}' has {plural(count, 'column')}"
    if classes:
        if len(classes) != count:
            hint = "list one label for each column, in their order"
            raise SpecError(f"evaluation: classes has {plural(len(classes), 'label')}, and {columns}", hint)
    elif not _are_column_numbers(labels, count):
        raise SpecError(
            f"evaluation: the labels are {_list(labels)}, and {columns}, 0 to {count - 1}", _suggest_classes(labels)
        )


def refuse_shifted(name: str, predicted: Array, labels: Array, columns: int) -> None:
    """Refuse predicted column numbers if the labels begin at 1, since each would be compared with its neighbour.

    ``columns`` is the number of columns of the model's scores, or 0 if it has none.

    Raises:
        SpecError: the greatest label is no column's number, and the model predicts 0, which is no label.
    """
    if labels.min() < 1 or predicted.min() != 0 or labels.max() <= predicted.max():
        return
    if labels.max() == predicted.max() + 1 or predicted.max() < columns <= labels.max():
        raise SpecError(
            f"evaluation: the labels are {_list(labels)}, and output '{name}' gives {_list(predicted)}",
            _suggest_classes(labels),
        )


def _suggest_classes(labels: Array) -> str:
    known = np.unique(labels).tolist()
    order = (
        f"`classes: [{', '.join(map(_format_yaml, known))}]`"
        if len(known) <= _SHOWN
        else "`classes: [first, second, …]`"
    )
    return f"add to `evaluation` the labels in the order of the model's columns: {order}"


def _format_yaml(label: object) -> str:
    """Format a label for YAML: texts in quotes, since 'no' or '1' would mean something else without."""
    return f'"{label}"' if isinstance(label, str) else str(label)


def _list(labels: Array) -> str:
    """Format the different labels as a list for a message."""
    return _join(np.unique(labels.astype(str) if labels.dtype.kind == "O" else labels).tolist())


def _join(labels: Sequence[object]) -> str:
    shown = [f"'{label}'" if isinstance(label, str) else str(label) for label in labels[:_SHOWN]]
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return ", ".join(shown) + more


def _are_column_numbers(labels: Array, count: int) -> bool:
    return bool(labels.dtype.kind in "iub" and labels.min() >= 0 and labels.max() < count)


def _has_shape(array: Array, labels: Array) -> bool:
    return bool(drop_last_axis(array).shape == labels.shape)
