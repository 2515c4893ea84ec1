"""Fitted estimators saved beside a spec that trusts them."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from exporting import write_spec
from sklearn.datasets import load_iris

from onnxpack.spec.load import SpecFile

TABLE, NUMBERS = load_iris(return_X_y=True)
TABLE = TABLE.astype(np.float32)
WORDS = np.array(["setosa", "versicolor", "virginica"])[NUMBERS]
ROWS = {"dtype": "float32", "shape": ["n", 4], "range": [0, 8]}


def save(folder: Path, model: object, framework: str = "sklearn", name: str = "m.joblib", **fields: Any) -> SpecFile:
    """Save a model as a joblib file or a pickle, and write a spec for it."""
    path = folder / name
    if name.endswith(".joblib"):
        joblib.dump(model, path, compress=3)
    else:
        path.write_bytes(pickle.dumps(model))
    return trust(folder, framework, name, **fields)


def trust(folder: Path, framework: str, name: str, **fields: Any) -> SpecFile:
    """A spec for a file with its digest; the input is iris' table where the fields say nothing else."""
    sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    model = {"framework": framework, "path": name, "sha256": sha256}
    return write_spec(folder, model, **({"inputs": {"x": ROWS}, "opset": 17} | fields))


def infos(made: Any) -> list[tuple[str, str, tuple[int | str, ...]]]:
    """The outputs of a made model: name, dtype and shape."""
    return [(info.name, info.dtype, info.shape) for info in made.model.outputs]
