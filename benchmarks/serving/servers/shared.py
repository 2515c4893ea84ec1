"""What the servers written by hand share: the session, with the options of ours, and the least of the protocol.

Nothing is checked here: a wrong request is an exception. JSON is read and written by orjson.
"""

import json
import os
import sys
from typing import Any, NamedTuple

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read by the import of onnxruntime

import numpy as np
import onnxruntime

DTYPES = {"FP32": np.float32, "INT64": np.int64}
DATATYPES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


class Task(NamedTuple):
    """What the command line of every server has."""

    model: str
    name: str
    port: int


def read_arguments() -> Task:
    """Read the command line: MODEL NAME PORT. Processes that a framework starts find it in the environment."""
    if len(sys.argv) == 4 and sys.argv[3].isdigit():
        os.environ["SERVE"] = json.dumps(sys.argv[1:])
    model, name, port = json.loads(os.environ["SERVE"])
    return Task(model, name, int(port))


def open_session(path: str) -> Any:
    """Load the model as our own server does, so that the servers are all that differs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    zeros = {}
    for value in session.get_inputs():
        dtype = {"tensor(float)": np.float32, "tensor(int64)": np.int64}[value.type]
        zeros[value.name] = np.zeros([size if isinstance(size, int) else 1 for size in value.shape], dtype)
    session.run(None, zeros)
    return session


def read_request(body: bytes, json_length: int) -> tuple[dict[str, Any], bool]:
    """Return the arrays of a request, and whether they were binary."""
    import orjson

    binary = json_length < len(body)
    arrays = {}
    at = json_length
    for item in orjson.loads(body[:json_length])["inputs"]:
        dtype = DTYPES[item["datatype"]]
        if binary:
            size = item["parameters"]["binary_data_size"]
            array = np.frombuffer(body[at : at + size], dtype)
            at += size
        else:
            array = np.array(item["data"], dtype)
        arrays[item["name"]] = array.reshape(item["shape"])
    return arrays, binary


def write_answer(session: Any, results: list[Any], binary: bool) -> tuple[bytes, int]:
    """Return the body of an answer, and the length of the JSON in it."""
    import orjson

    outputs = []
    tail = []
    for value, array in zip(session.get_outputs(), results, strict=True):
        output: dict[str, Any] = {"name": value.name, "datatype": DATATYPES[array.dtype], "shape": array.shape}
        if binary:
            tail.append(array.tobytes())
            output["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            output["data"] = array.ravel()
        outputs.append(output)
    head = orjson.dumps({"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join((head, *tail)), len(head)


def run_body(session: Any, body: bytes, json_length: int) -> tuple[bytes, int]:
    """Answer a body."""
    arrays, binary = read_request(body, json_length)
    return write_answer(session, session.run(None, arrays), binary)
