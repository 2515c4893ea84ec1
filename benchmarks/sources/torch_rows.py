"""Exports one architecture by one exporter at several opsets, in a process of its own; a JSON line for each."""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch_models import AXES, MODELS

import onnxpack.sources.torch as source
from onnxpack.errors import OnnxpackError
from onnxpack.export import export_model
from onnxpack.samples import read_arrays
from onnxpack.spec.load import load
from onnxpack.values import MODEL, REFERENCE
from onnxpack.verify import verify_model

STATIC = {"batch": 2, "seq": 5}
RTOL, ATOL = 1e-3, 1e-4


def main() -> None:
    """Arguments: the architecture, the exporter, ``static`` or ``dynamic``, and the opsets."""
    name, exporter, axes, *opsets = sys.argv[1:]
    source._trial = lambda file: "not tried here"  # the other exporter has rows of its own
    for opset in map(int, opsets):
        with tempfile.TemporaryDirectory(prefix="onnxpack-") as folder:
            row = {"model": name, "exporter": exporter, "axes": axes, "opset": opset}
            print(json.dumps(row | _result(Path(folder), name, exporter, axes, opset)), flush=True)


def _result(folder: Path, name: str, exporter: str, axes: str, opset: int) -> dict[str, Any]:
    shutil.copy(Path(__file__).with_name("torch_models.py"), folder)
    inputs = MODELS[name][1]
    used = {size for tensor in inputs.values() for size in tensor["shape"] if isinstance(size, str)}
    spec: dict[str, Any] = {
        "onnxpack": 1, "name": "table", "opset": opset, "inputs": inputs,
        "model": {"framework": "torch", "factory": "torch_models.py:make", "kwargs": {"name": name},
                  "exporter": exporter},
        "dynamic_axes": {axis: AXES[axis] for axis in sorted(used)},
    }  # fmt: skip
    if axes == "static":
        del spec["dynamic_axes"]
        spec["inputs"] = {
            key: tensor | {"shape": [STATIC.get(size, size) for size in tensor["shape"]]}
            for key, tensor in inputs.items()
        }
    (folder / "spec.yaml").write_text(json.dumps(spec))
    try:
        file = load(folder / "spec.yaml")
        (folder / "out").mkdir()
        facts = export_model(file.to_json(), str(folder / "out"))
    except OnnxpackError as error:
        return {"error": error.problems[0].message}
    rows = verify_model(str(folder / "out" / MODEL), str(folder / "out" / REFERENCE), facts["cases"], RTOL, ATOL)
    largest = max(
        float(np.abs(array).max())
        for case in facts["cases"]
        for array in read_arrays(folder / "out" / REFERENCE / f"{case}.outputs.npz").values()
    )
    assert largest > 100 * ATOL, f"{name} answers nothing but zeros, which any export would give"
    differ = [row for row in rows if row["reason"]]
    result = {"opset_read": facts["model"]["opset"], "max_abs_diff": max(row["max_abs_diff"] for row in rows)}
    return result | ({"error": f"{len(differ)} of {len(rows)} comparisons: {differ[0]['reason']}"} if differ else {})


if __name__ == "__main__":
    main()
