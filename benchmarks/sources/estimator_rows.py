"""Exports one estimator, its batch fixed or dynamic, at every opset of the table; without arguments, lists them."""

import hashlib
import json
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import joblib
from estimators import cases
from exported import row

OPSETS = (13, 17, 20, 22)
"""The last is skl2onnx' highest."""
EXPORTERS = {"xgboost": "onnxmltools", "lightgbm": "onnxmltools", "catboost": "catboost"}
BATCH = 8


def main() -> None:
    """Arguments: the estimator, its exporter, ``static`` or ``dynamic``, and the opsets; a JSON line for each."""
    warnings.simplefilter("ignore")  # estimators' own, about small data
    if not sys.argv[1:]:
        listed = [(name, _source(model)) for name, model, _, _ in cases()]
        print(json.dumps([[name, EXPORTERS.get(source, "skl2onnx"), OPSETS] for name, source in listed]))
        return
    wanted, exporter, axes, *opsets = sys.argv[1:]
    model, data, inputs = next(rest for name, *rest in cases() if name == wanted)
    model.fit(*data)
    for opset in map(int, opsets):
        about = {"source": _source(model), "model": wanted, "exporter": exporter, "axes": axes, "opset": opset}
        print(json.dumps(row(about, partial(_spec, model, inputs, axes, opset))), flush=True)


def _source(model: Any) -> str:
    library = type(model).__module__.partition(".")[0]
    return library if library in EXPORTERS else "sklearn"


def _spec(model: Any, inputs: dict[str, Any], axes: str, opset: int, folder: Path) -> dict[str, Any]:
    path = folder / "model.joblib"
    joblib.dump(model, path)
    first = "batch" if axes == "dynamic" else BATCH
    spec: dict[str, Any] = {
        "model": {
            "framework": _source(model), "path": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
        "inputs": {key: field | {"shape": [first, *field["shape"]]} for key, field in inputs.items()},
        "opset": opset,
    }  # fmt: skip
    return spec | ({"dynamic_axes": {"batch": [1, 64]}} if axes == "dynamic" else {})


if __name__ == "__main__":
    main()
