"""Register the converters that skl2onnx lacks: those of onnxmltools, CatBoost's own exporter, and repairs of them."""

import copy
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import skl2onnx
from skl2onnx import _supported_operators as supported
from skl2onnx.common import _registration as registry
from skl2onnx.common import shape_calculator as shapes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from onnxpack.core.errors import SourceError
from onnxpack.sources.estimators.steps import iterate_steps

Convert = Callable[[Any, Any, Any], None]
"""A converter as skl2onnx calls it: with its scope, operator and container."""

_SWITCH = [True, False]
_OPTIONS = {
    "zipmap": [*_SWITCH, "columns"],
    **dict.fromkeys(("nocl", "raw_scores", "output_class_labels"), _SWITCH),
    "split": None,
}


def register_converters(model: Any) -> None:
    """Tell skl2onnx how to convert the boosted trees in a model.

    Raises:
        SourceError: onnxmltools is missing.
    """
    for kind in {type(inner) for _, inner in iterate_steps(model)}:
        # The library's own classes, and the ones that this package makes of its files.
        library = next((name for name in _CONVERTERS if name in kind.__module__.split(".")), None)
        try:
            if library:
                _register(kind, _CONVERTERS[library]())
            elif issubclass(kind, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
                _repair(kind)
        except ModuleNotFoundError as error:
            raise SourceError(
                f"'{error.name}' is not installed, and {library} models need it", f"pip install 'onnxpack[{library}]'"
            ) from None


class TreeContainer:
    """A container of skl2onnx that takes trees as two libraries' converters give them.

    They hold numpy's numbers, which protobuf 7 refuses, and thresholds of float64: these become the next float32 below,
    so that a float32 goes to the same side of both.
    """

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *args: Any, **attributes: Any) -> Any:
        """Add the same node with Python's own numbers, and thresholds that are float32."""
        attributes = {name: _plain(value) for name, value in attributes.items()}
        if "nodes_values" in attributes:
            pairs = zip(attributes["nodes_values"], attributes["nodes_modes"], strict=True)
            attributes["nodes_values"] = [_below(value) if mode == "BRANCH_LEQ" else value for value, mode in pairs]
        return self._container.add_node(*args, **attributes)


def _round_thresholds(model: Any) -> Any:
    """Return a copy of histogram-based trees whose thresholds are float32 already.

    skl2onnx itself rounds them to the nearest float32, which may lie above: then a value equal to it changes sides.
    """
    rounded = copy.copy(model)
    # Deep, as the thresholds are changed in place, and the source still answers the hunt.
    rounded._predictors = copy.deepcopy(model._predictors)
    for predictor in itertools.chain.from_iterable(rounded._predictors):
        thresholds = predictor.nodes["num_threshold"]
        finite = np.isfinite(thresholds)
        thresholds[finite] = [_below(value) for value in thresholds[finite]]
    return rounded


def _below(threshold: float) -> float:
    """Return the largest float32 that is not above the threshold."""
    rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list) and any(isinstance(item, np.generic | bool) for item in value):
        return [_plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, bool) else value


def _register(kind: type, convert: Convert) -> None:
    classifier = "classifier" in kind.__name__.lower()
    if classifier and kind not in supported.sklearn_classifier_list:
        supported.sklearn_classifier_list.append(kind)  # CatBoost's is no ClassifierMixin
    skl2onnx.update_registered_converter(
        kind,
        f"onnxpack.{kind.__module__}.{kind.__name__}",
        shapes.calculate_linear_classifier_output_shapes
        if classifier
        else shapes.calculate_linear_regressor_output_shapes,
        convert,
        options=_OPTIONS if classifier else {"split": None},
    )


def _repair(kind: type) -> None:
    alias = supported.sklearn_operator_name_map[kind]
    # Repaired before, by an earlier export of this process.
    if alias.startswith("onnxpack."):
        return
    original = registry.get_converter(alias)

    def convert(scope: Any, operator: Any, container: Any) -> None:
        model = operator.raw_operator
        operator.raw_operator = _round_thresholds(model)
        try:
            original(scope, operator, TreeContainer(container))
        finally:
            operator.raw_operator = model

    _register(kind, convert)


def _xgboost() -> Convert:
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    def convert(scope: Any, operator: Any, container: Any) -> None:
        model = operator.raw_operator
        booster, objective = model.get_booster(), model.objective
        names, booster.feature_names = booster.feature_names, None  # it reads f0, f1, … only
        if objective == "multi:softmax":  # predict_proba tells probabilities all the same, which it would leave out
            model.objective = "multi:softprob"
        try:
            convert_xgboost(scope, operator, container)
        finally:
            booster.feature_names, model.objective = names, objective

    return convert


def _lightgbm() -> Convert:
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    def convert(scope: Any, operator: Any, container: Any) -> None:
        convert_lightgbm(scope, operator, TreeContainer(container))

    return convert


def _catboost() -> Convert:
    """Return a converter that takes the trees from CatBoost's own export, without its maps."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            operator.raw_operator.save_model(str(path), format="onnx")
            exported = onnx.load(path)
        (trees,) = (node for node in exported.graph.node if node.op_type.startswith("TreeEnsemble"))
        container.add_node(
            trees.op_type,
            operator.inputs[0].full_name,
            [output.full_name for output in operator.outputs],
            op_domain="ai.onnx.ml",
            op_version=1,
            name=scope.get_unique_operator_name("CatBoost"),
            **{item.name: onnx.helper.get_attribute_value(item) for item in trees.attribute},
        )

    return convert


_CONVERTERS = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost}
