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
    config = server.get_model_config("passing").config
    assert (config.name, config.backend) == ("passing", "onnxruntime")
    assert [item.name for item in config.input] == list(VALUES)
    assert {item.data_type for item in config.input} >= {1, 9, 11, 13}  # TYPE_BOOL, TYPE_INT64, TYPE_FP32, TYPE_STRING
    assert [list(item.dims)[-1] in (1, 2) for item in config.output].count(True) == len(VALUES)
    [model] = server.get_model_repository_index().models
    assert (model.name, model.state) == ("passing", "READY")
    before = server.get_inference_statistics("passing").model_stats[0]
    result = server.infer("passing", make_inputs(), request_id="7")
    after = server.get_inference_statistics().model_stats[0]
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert after.inference_count > before.inference_count
    assert sum(run.compute_infer.count for run in after.batch_stats) == after.execution_count
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
