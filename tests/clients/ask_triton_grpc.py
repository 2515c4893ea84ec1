"""tritonclient over gRPC: its synchronous client, its callbacks, and asyncio."""

import asyncio
import queue
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tritonclient.grpc as client
import tritonclient.grpc.aio as aio
from ask_values import VALUES, require_same
from tritonclient.utils import InferenceServerException


def make_inputs():
    """Return all inputs."""
    inputs = []
    for name, (datatype, array) in VALUES.items():
        inputs.append(client.InferInput(name, list(array.shape), datatype))
        inputs[-1].set_data_from_numpy(array)
    return inputs


def require_all(result):
    """Expect all values."""
    for name in VALUES:
        require_same(name, result.as_numpy(f"out_{name}"))


async def ask():
    """Ask several times at once."""
    async with aio.InferenceServerClient(sys.argv[1]) as server:
        assert await server.is_server_ready()
        assert await server.is_model_ready("passing")
        for result in await asyncio.gather(*(server.infer("passing", make_inputs()) for _ in range(8))):
            require_all(result)


def find_status(server, model, inputs):
    """Return the code of a request that is refused."""
    try:
        server.infer(model, inputs)
    except InferenceServerException as error:
        return error.status()
    return "OK"


with client.InferenceServerClient(sys.argv[1]) as server:
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready("passing")
    assert [item.name for item in server.get_model_metadata("passing").inputs] == list(VALUES)
    result = server.infer("passing", make_inputs(), request_id="7")
    require_all(result)
    assert result.get_response().id == "7"
    answers = queue.Queue()
    for _ in range(8):
        server.async_infer("passing", make_inputs(), lambda result, error: answers.put((result, error)))
    for _ in range(8):
        result, error = answers.get(timeout=30)
        assert error is None, error
        require_all(result)
    assert find_status(server, "passing", make_inputs()[1:]) == "StatusCode.INVALID_ARGUMENT"
    assert find_status(server, "other", make_inputs()) == "StatusCode.NOT_FOUND"
asyncio.run(ask())
print("sync async aio")
