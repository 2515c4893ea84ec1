"""Serves an iris forest on KServe's Python server: ``serve_kserve.py HTTP_PORT GRPC_PORT``."""

import sys
from typing import Any

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier


class Iris(Model):
    """The forest. KServe leaves it to the model what to make of a request; this does as its examples do."""

    def __init__(self) -> None:
        super().__init__("iris")
        self.forest = RandomForestClassifier(n_estimators=30, max_depth=5, random_state=0)
        self.forest.fit(*load_iris(return_X_y=True))
        self.ready = True

    async def get_input_types(self) -> list[dict[str, Any]]:
        """Describe the input."""
        return [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]

    async def get_output_types(self) -> list[dict[str, Any]]:
        """Describe the output."""
        return [{"name": "predict", "datatype": "INT64", "shape": [-1]}]

    def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:
        """Predict."""
        labels = self.forest.predict(payload.inputs[0].as_numpy()).astype(np.int64)
        output = InferOutput("predict", list(labels.shape), "INT64")
        output.set_data_from_numpy(labels, binary_data=False)
        return InferResponse(payload.id or generate_uuid(), self.name, [output])


http_port, grpc_port = map(int, sys.argv[1:])
ModelServer(http_port=http_port, grpc_port=grpc_port, workers=1, enable_docs_url=False).start([Iris()])
