"""KServe's clients: over HTTP with ``http URL``, over gRPC with ``grpc HOST:PORT``."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ask_values import VALUES, require_same
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def make_request(*, binary):
    """Return a request with all inputs."""
    inputs = []
    for name, (datatype, array) in VALUES.items():
        item = InferInput(name, list(array.shape), datatype)
        if datatype == "BYTES" and not binary:
            item.data = array.ravel().tolist()
        else:
            item.set_data_from_numpy(array, binary_data=binary or datatype == "FP16")
        inputs.append(item)
    outputs = [
        RequestedOutput(f"out_{name}", {"binary_data": True} if binary or datatype == "FP16" else None)
        for name, (datatype, _) in VALUES.items()
    ]
    return InferRequest(model_name="passing", infer_inputs=inputs, request_outputs=outputs, request_id="7")


def require_all(response):
    """Expect all values."""
    assert response.id == "7", response.id
    found = {output.name: output.as_numpy() for output in response.outputs}
    for name in VALUES:
        require_same(name, found[f"out_{name}"])


async def ask_http(url):
    """Ask over HTTP, with tensors in binary and as JSON."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=1, timeout=30))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "passing")
    for binary in (True, False):
        require_all(await client.infer(url, make_request(binary=binary), model_name="passing"))
    await client.close()


async def ask_grpc(place):
    """Ask over gRPC."""
    client = InferenceGRPCClient(place, timeout=30)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("passing")
    require_all(await client.infer(make_request(binary=True)))
    await client.close()


asyncio.run({"http": ask_http, "grpc": ask_grpc}[sys.argv[1]](sys.argv[2]))
print(sys.argv[1])
