"""Convert an estimator to ONNX by skl2onnx, with one input for each of the spec's, and probabilities as a tensor."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import skl2onnx
from skl2onnx import _supported_operators as supported
from skl2onnx.common import data_types
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs

from onnxpack.core.errors import Problem, SourceError, flatten_words
from onnxpack.data.test_inputs import Arrays
from onnxpack.graph.check import iterate_graphs
from onnxpack.sources import Export
from onnxpack.sources.estimators.answers import classifies
from onnxpack.sources.estimators.boosting import register_converters
from onnxpack.sources.estimators.steps import TRANSPARENT, describe_step, iterate_steps, takes_columns
from onnxpack.sources.estimators.tables import choose_float_dtype, order_inputs
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import DEFAULT_OPSET, Input, Spec

_TENSOR_TYPES = {
    "float32": "FloatTensorType",
    "float64": "DoubleTensorType",
    "int64": "Int64TensorType",
    "int32": "Int32TensorType",
    "bool": "BooleanTensorType",
    "string": "StringTensorType",
}
_ML_OPSET = 3
"""Of the operators that trees are made of; onnxmltools knows no newer one."""
_TABLE = "onnxpack_table"
_TOKENS = {r"(?u)\b\w\w+\b": r"[\p{L}\p{N}_]{2,}", r"(?u)\b\w+\b": r"[\p{L}\p{N}_]+"}
"""Python's usual token patterns → the same in RE2, whose ``\\w`` is ASCII alone."""
_COLUMN_SHAPE = "onnxpack_column_shape"
_LOCALE = "C"
"""The one that every image has."""


def export(model: Any, file: SpecFile, example: Arrays, count: int, destination: Path) -> Export:
    """Write the estimator as ONNX with ``count`` outputs; return their names.

    Raises:
        SourceError: skl2onnx cannot convert it; the problem names the step and its class.
    """
    register_converters(model)
    _require_converters(model)
    types = _initial_types(model, file.spec)
    try:
        with warnings.catch_warnings(), _clear_flatten_transform(model):
            warnings.simplefilter("ignore")  # scikit-learn's own about what the converters touch
            converted = skl2onnx.to_onnx(
                model,
                initial_types=types,
                target_opset={"": file.spec.opset or DEFAULT_OPSET, "ai.onnx.ml": _ML_OPSET},
                options=_options(model),
            )
    except Exception as error:  # converters raise many kinds
        raise _refuse(model, _find_culprit(error) or model, flatten_words(error, 1000)) from None
    names = _keep_outputs(converted, count)
    kind = choose_float_dtype([tensor.dtype for tensor in file.spec.inputs.values()])
    _require_runnable(model, converted, kind)
    _connect_inputs(converted.graph, order_inputs(model, tuple(file.spec.inputs)), file.spec)
    _cast_floats(converted.graph, kind)
    _set_locale(converted.graph)
    onnx.save(converted, destination)
    words = {"output_label": "label", "output_probability": "probabilities"}
    return Export(tuple(words.get(name, name) for name in names))


def _options(model: Any) -> dict[int, dict[str, Any]]:
    """Return skl2onnx's options for single estimators, by their ids."""
    options: dict[int, dict[str, Any]] = {}
    for _, inner in iterate_steps(model):
        if getattr(inner, "token_pattern", None) in _TOKENS and getattr(inner, "analyzer", "") == "word":
            # Only the usual patterns have a translation here; any other is left to skl2onnx.
            options[id(inner)] = {"tokenexp": _TOKENS[inner.token_pattern]}
    if classifies(model) and hasattr(model, "predict_proba"):
        options[id(model)] = {"zipmap": False}
    return options


@contextmanager
def _clear_flatten_transform(model: Any) -> Iterator[None]:
    """Clear ``flatten_transform`` of voting, which its converter refuses though it shapes ``transform`` alone."""
    voting = [inner for _, inner in iterate_steps(model) if getattr(inner, "flatten_transform", False)]
    for inner in voting:
        inner.flatten_transform = False
    try:
        yield
    finally:
        for inner in voting:
            inner.flatten_transform = True


def _require_converters(model: Any) -> None:
    known = supported.sklearn_operator_name_map
    problems = [
        _problem(model, inner, "it has no converter")
        for _, inner in iterate_steps(model)
        if type(inner) not in known and not isinstance(inner, TRANSPARENT)
    ]
    if problems:
        raise SourceError(problems)


def _problem(model: Any, step: Any, reason: str) -> Problem:
    return Problem(
        f"skl2onnx cannot convert {describe_step(model, step)}: {reason}", "use another estimator, or another opset"
    )


def _refuse(model: Any, step: Any, reason: str) -> SourceError:
    return SourceError(_problem(model, step, reason))


def _find_culprit(error: Exception) -> Any:
    """Return the estimator that skl2onnx failed at: its frames hold the operator that they work on."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        estimator = getattr(trace.tb_frame.f_locals.get("operator"), "raw_operator", None)
        found = found if estimator is None else estimator
        trace = trace.tb_next
    return found


def _as_columns(model: Any, spec: Spec) -> bool:
    """Return whether skl2onnx gets the inputs one by one; else they are joined to one table before the model."""
    texts = {tensor.dtype == "string" for tensor in spec.inputs.values()}
    return len(spec.inputs) > 1 and (takes_columns(model) or len(texts) > 1)


def _initial_types(model: Any, spec: Spec) -> list[tuple[str, Any]]:
    for tensor in spec.inputs.values():
        if tensor.dtype not in _TENSOR_TYPES:
            raise SourceError(
                f"skl2onnx takes no {tensor.dtype} input", f"set `dtype` to one of {', '.join(_TENSOR_TYPES)}"
            )
    names = order_inputs(model, tuple(spec.inputs))
    if _as_columns(model, spec) or (len(names) == 1 and takes_columns(model)):
        return [(name, _type(spec.inputs[name].dtype, spec.inputs[name].shape)) for name in names]
    if len(names) == 1:
        return [(_TABLE, _type(spec.inputs[names[0]].dtype, spec.inputs[names[0]].shape))]
    return [(_TABLE, _type(_table_dtype(spec), ("rows", len(names))))]


def _type(dtype: str, shape: tuple[int | str, ...]) -> Any:
    width = shape[1] if len(shape) > 1 else 1
    # Rows stay open even where the spec fixes them: some converters are right for open ones alone.
    return getattr(data_types, _TENSOR_TYPES[dtype])([None, None if isinstance(width, str) else width])


def _table_dtype(spec: Spec) -> str:
    dtypes = {tensor.dtype for tensor in spec.inputs.values()}
    return dtypes.pop() if len(dtypes) == 1 else choose_float_dtype(list(dtypes))


def _keep_outputs(converted: onnx.ModelProto, count: int) -> list[str]:
    outputs = list(converted.graph.output)[:count]
    names = [output.name for output in outputs]
    if count < len(converted.graph.output):
        # A classifier without probabilities still gets a second output of scores that predict() does not give.
        reduced = select_model_inputs_outputs(converted, outputs=names)
        converted.CopyFrom(reduced)
        del converted.graph.output[:]  # it forgets their types
        converted.graph.output.extend(outputs)
    return names


def _require_runnable(model: Any, converted: onnx.ModelProto, kind: str) -> None:
    """Require that float64 trees run: skl2onnx converts regressors that onnxruntime then refuses."""
    if kind != "float64" or not any(node.op_type == "TreeEnsembleRegressor" for node in converted.graph.node):
        return
    import onnxruntime

    try:
        onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base
        trees = [inner for _, inner in iterate_steps(model) if hasattr(inner, "tree_") or hasattr(inner, "estimators_")]
        reason = f"its trees do not run on float64: {flatten_words(error, 300)}"
        raise SourceError(
            Problem(f"skl2onnx cannot convert {describe_step(model, (trees or [model])[-1])}: {reason}",
                    "set `dtype: float32`, in which trees compare")
        ) from None  # fmt: skip


def _connect_inputs(graph: onnx.GraphProto, names: tuple[str, ...], spec: Spec) -> None:
    """Put the spec's inputs, in its order and shapes, before the model, whose own order is ``names``."""
    made = [value.name for value in graph.input]  # in the model's order; skl2onnx spells some names in its own way
    together = made == [_TABLE]
    nodes: list[onnx.NodeProto] = []
    if together:
        _rename(graph, {name: f"{name}__inner" for name in names})
    columns = [_column(name, spec.inputs[name], _table_dtype(spec) if together else None, nodes) for name in names]
    if together and len(columns) > 1:
        nodes.append(onnx.helper.make_node("Concat", columns, [_TABLE], axis=1))
    else:
        _rename(graph, dict(zip(made, columns, strict=True)))
    if any(node.op_type == "Reshape" for node in nodes):
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 1], dtype=np.int64), _COLUMN_SHAPE))
    inner = list(graph.node)
    # Nodes must come before those that read them.
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes + inner)
    for name, tensor in spec.inputs.items():
        # Open here; ``DeclareInputs`` writes the axes' names.
        shape = [None if isinstance(size, str) else size for size in tensor.shape]
        graph.input.append(onnx.helper.make_tensor_value_info(name, _element(tensor.dtype), shape))


def _column(name: str, tensor: Input, dtype: str | None, nodes: list[onnx.NodeProto]) -> str:
    """Add the nodes that give an input two dimensions and the table's dtype; return the last one's output."""
    column = name
    if len(tensor.shape) == 1:
        nodes.append(onnx.helper.make_node("Reshape", [name, _COLUMN_SHAPE], [column := f"{name}__column"]))
    if dtype is not None and tensor.dtype != dtype:
        nodes.append(onnx.helper.make_node("Cast", [column], [column := f"{name}__cast"], to=_element(dtype)))
    return column


def _element(dtype: str) -> int:
    kind: int = getattr(onnx.TensorProto, {"float32": "FLOAT", "float64": "DOUBLE"}.get(dtype, dtype.upper()))
    return kind


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for inner in iterate_graphs(graph):
        for value in (*inner.output, *inner.initializer):
            value.name = names.get(value.name, value.name)
        for node in inner.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]


def _cast_floats(graph: onnx.GraphProto, kind: str) -> None:
    """Cast the float outputs to the dtype of the source's answers, in which converters differ."""
    wanted = _element(kind)
    for output in graph.output:
        tensor = output.type.tensor_type
        if tensor.elem_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE) and tensor.elem_type != wanted:
            cast = f"{output.name}_{kind}"
            graph.node.append(onnx.helper.make_node("Cast", [output.name], [cast], to=wanted))
            output.name, tensor.elem_type = cast, wanted


def _set_locale(graph: onnx.GraphProto) -> None:
    """Set the locale of StringNormalizer: slim images lack its default, en_US.UTF-8, and the session would fail."""
    for inner in iterate_graphs(graph):
        for node in inner.node:
            if node.op_type == "StringNormalizer" and not any(item.name == "locale" for item in node.attribute):
                node.attribute.append(onnx.helper.make_attribute("locale", _LOCALE))
