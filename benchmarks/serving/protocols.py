"""Compares predictions over HTTP with binary tensors and over gRPC, and writes the figures into docs/serving.md.

Run by `PYTHONPATH=tests/helpers .venv/bin/python benchmarks/serving/protocols.py`. One server answers both, in turn, in
an order that is drawn anew in each round; medians of the rounds are told. The client is this process.
"""

import http.client
import json
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import grpc
import numpy as np
from bundle_examples import IRIS, save_iris, save_model
from calling import SERVICE, calling, make_request
from common import replace_made
from onnx import helper
from serving import Server, serving

from onnxpack.bundle.render import ModuleView, render_module
from onnxpack.core.values import TensorInfo

PAGE = Path(__file__).resolve().parents[2] / "docs/serving.md"
ROUNDS = 5
SECONDS = 1.0
"""How long each measurement takes."""
PICTURE = replace(
    IRIS,
    name="picture",
    inputs=(TensorInfo("x", "float32", (1, 3, 224, 224)),),
    outputs=(TensorInfo("mean", "float32", (1, 3)),),
    axes=(),
    max_body=2**20,
)


def main() -> None:
    """Measure both protocols for a small and a large tensor, and write the tables."""
    figures: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    memory: dict[tuple[str, str], list[int]] = defaultdict(list)
    for _ in range(ROUNDS):
        for view, size in ((IRIS, "16 bytes"), (PICTURE, "602 kB")):
            for server_kind in ("http", "http+grpc"):
                with running(replace(view, server=server_kind)) as server, ExitStack() as stack:
                    kinds = {"HTTP": ask_http(view, server)}
                    if server_kind == "http+grpc":
                        kinds["gRPC"] = ask_grpc(view, stack.enter_context(calling(server)))
                    for name in random.sample(list(kinds), len(kinds)):
                        found = measure(kinds[name], server)
                        if server_kind == "http+grpc":
                            figures[size, name].append(found)
                    memory[size, server_kind].append(server.memory_peak())
    lines = ["| tensor | protocol | requests/s | p50, ms | CPU, ms |", "|---|---|---|---|---|"]
    for (size, name), rounds in sorted(figures.items()):
        rate, p50, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
        lines.append(f"| {size} | {name} | {rate:,.0f} | {p50:.2f} | {cpu:.2f} |")
    lines += ["", "| tensor | peak memory with HTTP | with HTTP and gRPC, both used |", "|---|---|---|"]
    for size in ("16 bytes", "602 kB"):
        alone, both = (statistics.median(memory[size, kind]) / 2**20 for kind in ("http", "http+grpc"))
        lines.append(f"| {size} | {alone:.0f} MiB | {both:.0f} MiB |")
    text = "\n".join(lines) + "\n"
    PAGE.write_text(replace_made(PAGE.read_text(), "benchmarks/serving/protocols.py", text))
    print(text)


@contextmanager
def running(view: ModuleView) -> Iterator[Server]:
    """Serve a model that is next to nothing."""
    with tempfile.TemporaryDirectory(prefix="onnxpack-protocols-") as place:
        folder = Path(place)
        for file, text in render_module(view).items():
            (folder / file).write_text(text)
        if view.name == "iris":
            save_iris(folder / "model.onnx")
        else:
            nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0)]
            save_model(folder / "model.onnx", nodes, view, [])
        with serving(folder) as server:
            yield server


def make_input(view: ModuleView) -> np.ndarray:
    """Return ones in the shape of the model's input, for one row."""
    return np.ones([size if isinstance(size, int) else 1 for size in view.inputs[0].shape], np.float32)


def ask_http(view: ModuleView, server: Server) -> Callable[[], None]:
    """Return what asks once over HTTP, with binary tensors both ways."""
    array, data = make_input(view), make_input(view).tobytes()
    tensor = {"name": view.inputs[0].name, "datatype": "FP32", "shape": array.shape}
    document = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}]}
    head = json.dumps({**document, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    body = head + data

    def ask() -> None:
        connection.request("POST", f"/v2/models/{view.name}/infer", body, headers)
        response = connection.getresponse()
        answer = response.read()
        assert response.status == http.client.OK, answer

    return ask


def ask_grpc(view: ModuleView, channel: grpc.Channel) -> Callable[[], None]:
    """Return what asks once over gRPC, with raw tensors."""
    body = make_request(view.name, {view.inputs[0].name: ("FP32", make_input(view))}, raw=True).SerializeToString()
    call = channel.unary_unary(f"{SERVICE}ModelInfer")
    return lambda: call(body) and None


def measure(ask: Callable[[], None], server: Server) -> tuple[float, float, float]:
    """Return requests per second, the median of their milliseconds, and the server's CPU milliseconds of each."""
    for _ in range(30):  # what is set up lazily
        ask()
    times, used, began = [], server.cpu_seconds(), time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        ask()
        times.append(time.perf_counter() - start)
    seconds, used = time.perf_counter() - began, server.cpu_seconds() - used
    return len(times) / seconds, statistics.median(times) * 1e3, used / len(times) * 1e3


if __name__ == "__main__":
    main()
