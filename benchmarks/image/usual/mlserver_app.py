"""MLServer with a runtime of its own for onnxruntime, in the server's process."""

import asyncio

import onnxruntime
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Runtime(MLModel):
    """The model."""

    async def load(self) -> bool:
        """Load it."""
        self.session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
        self.names = [value.name for value in self.session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run it."""
        arrays = {item.name: NumpyCodec.decode_input(item) for item in payload.inputs}
        results = self.session.run(self.names, arrays)
        pairs = zip(self.names, results, strict=True)
        outputs = [NumpyCodec.encode_output(name, array) for name, array in pairs]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def main() -> None:
    """Serve for ever."""
    settings = Settings(host="0.0.0.0", http_port=8080, grpc_port=0, metrics_endpoint=None, parallel_workers=0)
    await MLServer(settings).start([ModelSettings(name="model", implementation=Runtime)])


if __name__ == "__main__":
    asyncio.run(main())
