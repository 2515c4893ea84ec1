"""MLServer's codecs: numpy, strings and pandas, encoded by it, answered by the server, and decoded by it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pandas as pd
import requests
from ask_values import VALUES, require_same
from mlserver.codecs import NumpyCodec, PandasCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, Parameters

URL = f"{sys.argv[1]}/v2/models/passing/infer"


def ask(inputs):
    """Send inputs as MLServer writes them; return the answer as MLServer reads it."""
    body = InferenceRequest(inputs=inputs).model_dump_json(exclude_none=True)
    answer = requests.post(URL, data=body, headers={"content-type": "application/json"}, timeout=30)
    assert answer.status_code == 200, answer.text
    return InferenceResponse.model_validate_json(answer.text)


def encode(name, datatype, array):
    """Encode one input. Its codec of strings is one for a column: another shape is written over."""
    if datatype != "BYTES":
        return NumpyCodec.encode_input(name, array)
    item = StringCodec.encode_input(name, array.ravel().tolist(), use_bytes=False)
    item.shape = list(array.shape)
    return item


response = ask([encode(name, datatype, array) for name, (datatype, array) in VALUES.items()])
for output in response.outputs:
    name = output.name.removeprefix("out_")
    datatype, array = VALUES[name]
    if datatype == "BYTES":
        assert StringCodec.decode_output(output) == array.ravel().tolist(), output
    else:
        require_same(name, NumpyCodec.decode_output(output))

frame = pd.DataFrame({"size": VALUES["size"][1].ravel(), "kind": VALUES["kind"][1].ravel()})
columns = PandasCodec.encode_request(frame, use_bytes=False)
others = [encode(name, *VALUES[name]) for name in VALUES if name not in frame]
response = ask([*columns.inputs, *others])
response.outputs = [output for output in response.outputs if output.name in ("out_size", "out_kind")]
for output in response.outputs:
    output.name = output.name.removeprefix("out_")
    if output.datatype == "BYTES":
        output.parameters = Parameters(content_type="str")
decoded = PandasCodec.decode_response(response)
pd.testing.assert_frame_equal(decoded, frame, check_dtype=False)
print("numpy strings pandas")
