"""FastAPI around a scikit-learn model, as it is written by hand."""

from typing import Any

import joblib
import numpy as np
from fastapi import FastAPI

MODEL = joblib.load("model.joblib")
app = FastAPI()


@app.post("/infer")
def infer(request: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Answer JSON."""
    item = request["inputs"][0]
    found = MODEL.predict_proba(np.array(item["data"], np.float32).reshape(item["shape"]))
    return {"outputs": [{"name": "probabilities", "data": found.ravel().tolist()}]}
