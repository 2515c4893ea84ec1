"""MLServer with a runtime of its own for onnxruntime, in the server's process."""

import asyncio

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse
from shared import open_session, read_arguments


class Runtime(MLModel):
    """The model."""

    async def load(self) -> bool:
        """Load it."""
        self.session = open_session(read_arguments().model)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run it."""
        arrays = {item.name: NumpyCodec.decode_input(item) for item in payload.inputs}
        results = self.session.run(None, arrays)
        names = [value.name for value in self.session.get_outputs()]
        outputs = [NumpyCodec.encode_output(name, array) for name, array in zip(names, results, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def main() -> None:
    """Serve for ever."""
    task = read_arguments()
    settings = Settings(
        host="127.0.0.1",
        http_port=task.port,
        grpc_port=0,
        metrics_endpoint=None,
        parallel_workers=0,
        debug=False,
    )
    model = ModelSettings(name=task.name, implementation=Runtime, parameters=ModelParameters(uri=task.model))
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(main())
