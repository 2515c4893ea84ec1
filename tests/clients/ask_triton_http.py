"""tritonclient over HTTP: its synchronous client and its futures."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tritonclient.http as client
from ask_values import VALUES, require_same
from tritonclient.utils import InferenceServerException


def make_inputs(*, binary):
    """Return all inputs, in binary or as JSON; FP16 is in binary alone here."""
    inputs = []
    for name, (datatype, array) in VALUES.items():
        item = client.InferInput(name, list(array.shape), datatype)
        item.set_data_from_numpy(array, binary_data=binary or datatype == "FP16")
        inputs.append(item)
    return inputs


def make_outputs(*, binary):
    """Ask for all outputs."""
    return [
        client.InferRequestedOutput(f"out_{name}", binary_data=binary or datatype == "FP16")
        for name, (datatype, _) in VALUES.items()
    ]


def require_all(result):
    """Expect all values."""
    for name in VALUES:
        require_same(name, result.as_numpy(f"out_{name}"))


def find_status(server, model, inputs):
    """Return the status of a request that is refused."""
    try:
        server.infer(model, inputs)
    except InferenceServerException as error:
        return error.status()
    return "200"


with client.InferenceServerClient(sys.argv[1], concurrency=4) as server:
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready("passing")
    assert not server.is_model_ready("other")
    metadata = server.get_model_metadata("passing")
    assert [item["name"] for item in metadata["inputs"]] == list(VALUES), metadata
    assert "binary_tensor_data" in server.get_server_metadata()["extensions"]
    for sent in (True, False):
        for got in (True, False):
            inputs, outputs = make_inputs(binary=sent), make_outputs(binary=got)
            result = server.infer("passing", inputs, outputs=outputs, request_id="7")
            require_all(result)
            assert result.get_response()["id"] == "7"
    require_all(server.infer("passing", make_inputs(binary=True)))
    require_all(server.infer("passing", make_inputs(binary=True), model_version="1.0.0"))
    chosen = server.infer("passing", make_inputs(binary=True), outputs=make_outputs(binary=True)[:1])
    require_same("in_float32", chosen.as_numpy("out_in_float32"))
    assert chosen.as_numpy("out_in_bool") is None
    futures = [server.async_infer("passing", make_inputs(binary=True)) for _ in range(8)]
    for future in futures:
        require_all(future.get_result(timeout=30))
    assert find_status(server, "passing", make_inputs(binary=True)[1:]) == "400"
    assert find_status(server, "other", make_inputs(binary=True)) == "404"
    extensions = server.get_server_metadata()["extensions"]
    if "model_configuration" in extensions:
        assert server.get_model_config("passing")["name"] == "passing"
    if "statistics" in extensions:
        assert server.get_inference_statistics("passing")["model_stats"][0]["name"] == "passing"
print("sync async")
