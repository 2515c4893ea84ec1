"""KServe's model server with a model of its own for onnxruntime."""

from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from shared import open_session, read_arguments


class OnnxModel(Model):
    """The model."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self.session = open_session(path)
        self.ready = True

    def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        """Run it."""
        arrays = {item.name: item.as_numpy() for item in payload.inputs}
        results = self.session.run(None, arrays)
        outputs = []
        for value, array in zip(self.session.get_outputs(), results, strict=True):
            datatype = {"float32": "FP32", "int64": "INT64"}[array.dtype.name]
            output = InferOutput(value.name, list(array.shape), datatype)
            output.set_data_from_numpy(array, binary_data=payload.use_binary_outputs)
            outputs.append(output)
        return InferResponse(payload.id or "0", self.name, outputs, use_binary_outputs=payload.use_binary_outputs)


if __name__ == "__main__":
    task = read_arguments()
    ModelServer(http_port=task.port, enable_grpc=False, workers=1).start([OnnxModel(task.name, task.model)])
