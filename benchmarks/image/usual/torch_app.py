"""FastAPI around a PyTorch model, as it is written by hand."""

from typing import Any

import torch
from fastapi import FastAPI

MODEL = torch.export.load("model.pt2").module()
app = FastAPI()


@app.post("/infer")
def infer(request: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Answer JSON."""
    item = request["inputs"][0]
    with torch.inference_mode():
        found = MODEL(torch.tensor(item["data"], dtype=torch.float32).reshape(item["shape"]))
    return {"outputs": [{"name": "logits", "data": found.ravel().tolist()}]}
