"""Other projects' clients work with the server: what they send is answered, and they read the answer."""

import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., str]


def test_tritonclient_over_http(run: Run, passing: str) -> None:
    assert run("ask_triton_http.py", passing) == "sync async\n"


def test_tritonclient_with_asyncio(run: Run, passing: str) -> None:
    assert run("ask_triton_aio.py", passing) == "aio\n"


def test_tritonclient_over_grpc(run: Run, passing_grpc: str) -> None:
    assert run("ask_triton_grpc.py", passing_grpc) == "sync async aio\n"


def test_kserves_client_over_http(run: Run, passing: str) -> None:
    assert run("ask_kserve.py", "http", f"http://{passing}") == "http\n"


def test_kserves_client_over_grpc(run: Run, passing_grpc: str) -> None:
    assert run("ask_kserve.py", "grpc", passing_grpc) == "grpc\n"


def test_mlservers_codecs(run: Run, passing: str) -> None:
    assert run("ask_mlserver.py", f"http://{passing}") == "numpy strings pandas\n"


def make_request(rows: int) -> dict[str, Any]:
    """Return a request as a person writes it."""
    kinds = {
        "in_float32": ("FP32", 0.5), "in_float16": ("FP16", 0.5), "in_int64": ("INT64", 1), "in_int8": ("INT8", 1),
        "in_bool": ("BOOL", True), "in_string": ("BYTES", "a"),
    }  # fmt: skip
    inputs = [
        {"name": name, "datatype": datatype, "shape": [rows, 2], "data": [value] * (rows * 2)}
        for name, (datatype, value) in kinds.items()
    ]
    for name, datatype, value in (("size", "FP32", 0.5), ("kind", "BYTES", "b")):
        inputs.append({"name": name, "datatype": datatype, "shape": [rows, 1], "data": [value] * rows})
    return {"inputs": inputs}


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("rows", [1, 5000])
@pytest.mark.parametrize(
    "options", [(), ("--http1.0",), ("--http2",), ("-H", "Expect: 100-continue"), ("-H", "Transfer-Encoding: chunked")]
)
def test_curl_gets_an_answer(rows: int, options: tuple[str, ...], passing: str) -> None:
    ended = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "60", *options, "--data-binary", "@-",
         f"http://{passing}/v2/models/passing/infer"],
        input=json.dumps(make_request(rows)).encode(), capture_output=True, timeout=90, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, (ended.stderr, ended.stdout[:500])
    outputs = {output["name"]: output for output in json.loads(ended.stdout)["outputs"]}
    assert outputs["out_kind"]["data"] == ["b"] * rows
    assert outputs["out_in_float16"]["shape"] == [rows, 2]
