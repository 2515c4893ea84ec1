"""A BentoML service with one worker."""

from typing import Any

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1)
class Service:
    """The model."""

    def __init__(self) -> None:
        self.session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
        self.names = [value.name for value in self.session.get_outputs()]

    @bentoml.api(route="/infer")
    def infer(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Answer JSON."""
        arrays = {item["name"]: np.array(item["data"], np.float32).reshape(item["shape"]) for item in inputs}
        results = self.session.run(self.names, arrays)
        pairs = zip(self.names, results, strict=True)
        return {"outputs": [{"name": name, "data": array.ravel().tolist()} for name, array in pairs]}
