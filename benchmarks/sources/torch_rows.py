"""Exports a torch architecture, its axes fixed or dynamic, at all opsets of the table; without arguments, lists all."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from exported import row
from torch_models import AXES, MODELS

import onnxpack.sources.torch as source

OPSETS = {"dynamo": (13, 17, 20, 26), "torchscript": (13, 17, 20)}
"""The last of each is the highest: of what the runtime reads, and of what the exporter knows."""
STATIC = {"batch": 2, "seq": 5}


def main() -> None:
    """Arguments: the architecture, the exporter, ``static`` or ``dynamic``, and the opsets; a JSON line for each."""
    if not sys.argv[1:]:
        print(json.dumps([[name, exporter, opsets] for name in MODELS for exporter, opsets in OPSETS.items()]))
        return
    name, exporter, axes, *opsets = sys.argv[1:]
    source._trial = lambda file, asked: "not tried here"  # the other exporter has rows of its own
    for opset in map(int, opsets):
        about = {"source": MODELS[name][0], "model": name, "exporter": exporter, "axes": axes, "opset": opset}
        print(json.dumps(row(about, partial(_spec, name, exporter, axes, opset))), flush=True)


def _spec(model: str, exporter: str, axes: str, opset: int, folder: Path) -> dict[str, Any]:
    shutil.copy(Path(__file__).with_name("torch_models.py"), folder)
    inputs = MODELS[model][1]
    spec: dict[str, Any] = {
        "opset": opset,
        "inputs": inputs,
        "model": {"framework": "torch", "factory": "torch_models.py:make", "kwargs": {"name": model}, "weights": "none",
                  "exporter": exporter},
    }  # fmt: skip
    if axes == "dynamic":
        used = {size for tensor in inputs.values() for size in tensor["shape"] if isinstance(size, str)}
        return spec | {"dynamic_axes": {axis: AXES[axis] for axis in sorted(used)}}
    fixed = {key: tensor | {"shape": [STATIC.get(size, size) for size in tensor["shape"]]}
             for key, tensor in inputs.items()}  # fmt: skip
    return spec | {"inputs": fixed}


if __name__ == "__main__":
    main()
