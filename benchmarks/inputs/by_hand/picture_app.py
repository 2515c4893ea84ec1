"""A picture classifier as people write it with FastAPI, Pillow and ONNX Runtime."""

import io
from typing import Annotated

import numpy as np
import onnxruntime
from fastapi import FastAPI, File
from PIL import Image

app = FastAPI()
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
labels = [f"class {number}" for number in range(1000)]
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def prepare(data: bytes) -> np.ndarray:
    """Decode a picture as torchvision's transforms for ImageNet do."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    image = image.crop((left, top, left + 224, top + 224))
    pixels = (np.asarray(image, np.float32) / 255 - MEAN) / STD
    return pixels.transpose(2, 0, 1)[None]


@app.post("/predict")
def predict(image: Annotated[bytes, File()]) -> dict[str, object]:
    """Return the best of the classes."""
    logits = session.run(None, {"image": prepare(image)})[0][0]
    scores = np.exp(logits - logits.max())
    scores /= scores.sum()
    best = np.argsort(-scores)[:5]
    return {"label": labels[best[0]], "top": [{"label": labels[one], "score": float(scores[one])} for one in best]}
