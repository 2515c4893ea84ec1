"""A text classifier as people write it with FastAPI, tokenizers and ONNX Runtime."""

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer

app = FastAPI()
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation(128)
tokenizer.enable_padding()


class Question(BaseModel):
    """What a client sends."""

    text: str


@app.post("/predict")
def predict(question: Question) -> dict[str, object]:
    """Return whether a text is kind."""
    encoded = tokenizer.encode_batch([question.text])
    ids = np.array([one.ids for one in encoded], np.int64)
    mask = np.array([one.attention_mask for one in encoded], np.int64)
    logits = session.run(None, {"input_ids": ids, "attention_mask": mask})[0][0]
    scores = np.exp(logits - logits.max())
    scores /= scores.sum()
    return {"label": "positive" if scores[1] > scores[0] else "negative", "probabilities": scores.tolist()}
