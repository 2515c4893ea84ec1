"""FastAPI around an ONNX model, as it is written by hand."""

from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI

SESSION = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
NAMES = [value.name for value in SESSION.get_outputs()]
app = FastAPI()


@app.post("/infer")
def infer(request: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Answer JSON."""
    arrays = {item["name"]: np.array(item["data"], np.float32).reshape(item["shape"]) for item in request["inputs"]}
    results = SESSION.run(NAMES, arrays)
    pairs = zip(NAMES, results, strict=True)
    return {"outputs": [{"name": name, "data": array.ravel().tolist()} for name, array in pairs]}
