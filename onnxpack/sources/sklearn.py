"""scikit-learn: a pickled estimator or pipeline on one numeric table, converted by skl2onnx."""

import hashlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from onnxpack.errors import Problem, SourceError
from onnxpack.samples import Arrays
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import DEFAULT_OPSET

_TENSOR_TYPES = {
    "float32": "FloatTensorType",
    "float64": "DoubleTensorType",
    "int64": "Int64TensorType",
    "int32": "Int32TensorType",
    "bool": "BooleanTensorType",
    "string": "StringTensorType",
}


def load(file: SpecFile) -> Any:
    """The estimator; the very bytes whose digest the spec has are the ones that are unpickled."""
    model = file.spec.model
    assert model.path
    data = file.resolve(model.path).read_bytes()
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise SourceError(f"'{model.path}' changed after its digest was checked", "build again")
    if len(file.spec.inputs) != 1:
        raise SourceError(
            "an estimator with several inputs is not supported yet", "give one input of shape [batch, features]"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", category=_version_warning())
            estimator = joblib.load(io.BytesIO(data))
    except Exception as error:  # a pickle may raise anything
        raise SourceError(
            f"cannot load '{model.path}': {type(error).__name__}: {error}",
            "install the scikit-learn that saved it, and all that it imports",
        ) from None
    if not (hasattr(estimator, "predict") or hasattr(estimator, "transform")):
        raise SourceError(
            f"'{model.path}' holds a {type(estimator).__name__}", "it must be a fitted estimator or pipeline"
        )
    return estimator


def run(model: Any, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
    """A classifier's label and probabilities (or only the label), a regressor's values, a transformer's table."""
    (table,) = inputs.values()
    if not hasattr(model, "predict"):
        return [_dense(model.transform(table), _float_of(table.dtype.name))]
    label = np.asarray(model.predict(table))
    if _is_classifier(model):
        if hasattr(model, "predict_proba"):
            return [_label(label), model.predict_proba(table).astype(_float_of(table.dtype.name))]
        return [_label(label)]
    if _is_clusterer(model):
        return [_label(label)]
    column = label.reshape(len(table), -1)
    # Outlier detectors and mixtures give whole numbers.
    return [_label(column) if column.dtype.kind in "iu" else column.astype(_float_of(table.dtype.name))]


def export(model: Any, file: SpecFile, example: Arrays, count: int, destination: Path) -> Sequence[str]:
    """Converts with skl2onnx; probabilities come as a tensor, never as a list of dictionaries."""
    import onnx
    import skl2onnx
    from skl2onnx.common import data_types
    from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs

    ((name, tensor),) = file.spec.inputs.items()
    if tensor.dtype not in _TENSOR_TYPES:
        raise SourceError(f"skl2onnx takes no {tensor.dtype} input", f"use one of {', '.join(_TENSOR_TYPES)}")
    shape = [None if isinstance(size, str) else size for size in tensor.shape]
    kind = getattr(data_types, _TENSOR_TYPES[tensor.dtype])(shape)
    with_maps = _is_classifier(model) and hasattr(model, "predict_proba")
    options = {id(model): {"zipmap": False}} if with_maps else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's own about what the converters touch
            converted = skl2onnx.to_onnx(
                model, initial_types=[(name, kind)], target_opset=file.spec.opset or DEFAULT_OPSET, options=options
            )
    except Exception as error:  # converters raise many kinds
        step = type(model).__name__
        raise SourceError(
            Problem(f"skl2onnx cannot convert this {step}: {str(error).strip()[:2000]}",
                    "use another estimator, or another opset")
        ) from None  # fmt: skip
    outputs = list(converted.graph.output)[:count]
    names = [output.name for output in outputs]
    if count < len(converted.graph.output):
        # A classifier without probabilities still gets a second output of scores that predict() does not give.
        converted = select_model_inputs_outputs(converted, outputs=names)
        del converted.graph.output[:]  # it forgets their types
        converted.graph.output.extend(outputs)
    _cast_floats(converted.graph, _float_of(tensor.dtype))
    onnx.save(converted, destination)
    words = {"output_label": "label", "output_probability": "probabilities"}
    return [words.get(name, name) for name in names]


def _cast_floats(graph: Any, kind: str) -> None:
    """Gives the float outputs the dtype that ``run`` gives; converters differ in it."""
    import onnx

    wanted = onnx.TensorProto.DOUBLE if kind == "float64" else onnx.TensorProto.FLOAT
    for output in graph.output:
        tensor = output.type.tensor_type
        if tensor.elem_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE) and tensor.elem_type != wanted:
            cast = f"{output.name}_{kind}"
            graph.node.append(onnx.helper.make_node("Cast", [output.name], [cast], to=wanted))
            output.name, tensor.elem_type = cast, wanted


def _is_classifier(model: Any) -> bool:
    from sklearn.base import is_classifier

    return bool(is_classifier(model))


def _is_clusterer(model: Any) -> bool:
    try:
        from sklearn.base import is_clusterer
    except ImportError:  # scikit-learn 1.5 and older, in an isolated environment
        return getattr(model, "_estimator_type", None) == "clusterer"
    return bool(is_clusterer(model))


def _version_warning() -> type[Warning]:
    from sklearn.exceptions import InconsistentVersionWarning

    kind: type[Warning] = InconsistentVersionWarning
    return kind


def _label(label: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return label.astype(str) if label.dtype.kind in "OU" else label.astype(np.int64)


def _float_of(dtype: str) -> str:
    """What an estimator's floats are shipped as: float64 for a float64 table, else float32."""
    return "float64" if dtype == "float64" else "float32"


def _dense(table: Any, kind: str) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = table.toarray() if hasattr(table, "toarray") else np.asarray(table)
    return array.astype(kind) if array.dtype.kind == "f" else array
