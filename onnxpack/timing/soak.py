"""Send the server in a container requests of all declared sizes, and measure how its memory grows.

It runs beside the server, as ``onnxpack.timing.probe`` does, and with no other module of this package than that one.
The server in the finished image is what serves: its threads, its JSON and its session make the memory that a
container's limit is about, and a session alone in another process would show a part of it.
"""

import contextlib
import json
import math
import os
import random
import statistics
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.timing.probe import (
    PATIENCE,
    find_model_path,
    find_process,
    make_request,
    read_datatypes,
    read_inputs,
    read_peak_rss,
)

_TIMES = (30, 2000)
"""A soak has so many requests at least and at most; of slow ones fewer, where its time is over six times."""
_LATE = 6
_FEWEST = 9
"""The requests without which nothing is said of a growth: three of each third."""
_JSON_NUMBERS = 10_000
"""A request of more travels in binary: making its JSON would take the probe longer than the server takes."""
_MOST_BYTES = 64 * 2**20
"""The inputs of one request; the server's own limit is no higher where the spec sets none."""

Axes = Mapping[str, tuple[int, int]]
"""The least and the greatest size of each dynamic axis."""
Shapes = Mapping[str, tuple[int | str, ...]]


def main(arguments: list[str]) -> dict[str, Any]:
    """Run a soak; the arguments are the server's port (0: without a server), the file of a case, and seconds."""
    port, sample, seconds = arguments
    if int(port):
        return soak(int(port), read_inputs(Path(sample)), float(seconds), find_process())
    import files

    return soak(0, files.read(Path(sample)), float(seconds), "self")


def soak(port: int, arrays: Mapping[str, Any], seconds: float, process: str) -> dict[str, Any]:
    """Answer requests of all declared sizes, and measure how a process' memory grows once a third is answered."""
    import inference

    axes = getattr(inference, "AXES", {})
    shapes = {name: tensor.shape for name, tensor in inference.INPUTS.items()}
    usual = {axis: size for name in shapes for axis, size in zip(shapes[name], arrays[name].shape, strict=True)}
    draws = random.Random(0)
    memory: list[int] = []
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(_Client(port))) if port else _Module()
        began = time.monotonic()
        while len(memory) < _TIMES[1]:
            bound = seconds if len(memory) >= _TIMES[0] else seconds * _LATE
            if memory and time.monotonic() - began > bound:
                break
            sizes = draw_sizes(axes, usual, len(memory), draws)
            client.answer(resize_arrays(arrays, shapes, fit_sizes(arrays, shapes, axes, sizes)))
            memory.append(read_rss(process))
    return {
        "requests": len(memory),
        "rss_bytes": memory[-1],
        "growth_bytes": measure_growth(memory),
        "peak_rss_bytes": read_peak_rss(process),
    }


def draw_sizes(axes: Axes, usual: Mapping[Any, int], number: int, draws: random.Random) -> dict[str, int]:
    """Return the sizes of one request: the least, the usual and the greatest first, then any in between.

    Their logarithms are drawn uniformly, so that most are small, as those of most requests are.
    """
    first = (
        {name: least for name, (least, _) in axes.items()},
        {name: usual[name] for name in axes},
        {name: greatest for name, (_, greatest) in axes.items()},
    )
    if number < len(first):
        return first[number]
    return {
        name: round(math.exp(draws.uniform(math.log(max(least, 1)), math.log(greatest))))
        for name, (least, greatest) in axes.items()
    }


def fit_sizes(arrays: Mapping[str, Any], shapes: Shapes, axes: Axes, sizes: dict[str, int]) -> dict[str, int]:
    """Return the sizes, the greatest of them halved until the inputs are small enough to send."""
    while True:
        total = sum(
            arrays[name].itemsize * math.prod(sizes[size] if isinstance(size, str) else size for size in shape)
            for name, shape in shapes.items()
        )
        smaller = {name: max(size // 2, axes[name][0]) for name, size in sizes.items()}
        name = max(sizes, key=lambda name: sizes[name] - smaller[name], default="")
        if total <= _MOST_BYTES or not name or smaller[name] == sizes[name]:
            return sizes
        sizes = sizes | {name: smaller[name]}


def resize_arrays(arrays: Mapping[str, Any], shapes: Shapes, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return the arrays at other sizes of their axes: cut off, or with their own values over and over."""
    made = {}
    for name, shape in shapes.items():
        array = arrays[name]
        if not array.size:  # of an axis whose least size is 0: there are no values to repeat
            array = np.zeros(np.maximum(array.shape, 1), array.dtype)
        for place, size in enumerate(shape):
            if isinstance(size, str):
                array = np.take(array, np.arange(sizes[size]) % array.shape[place], place)
        made[name] = array
    return made


def measure_growth(memory: list[int]) -> int | None:
    """Return by how many bytes memory grew behind the first third; None of too few requests to say.

    What is compared are the medians of two tenths, the first behind the warm-up and the last: memory that one large
    request leaves for a moment is no growth.
    """
    if len(memory) < _FEWEST:
        return None
    warm, width = len(memory) // 3, max(len(memory) // 10, 1)
    before, after = (statistics.median(part) for part in (memory[warm : warm + width], memory[-width:]))
    return max(int(after - before), 0)


def read_rss(process: str) -> int:
    """Return the resident set of a process now, in bytes (field 2 of /proc/PID/statm, proc(5))."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _show_shapes(arrays: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())


class _Module:
    """The generated module, in this process."""

    def __init__(self) -> None:
        import inference

        self._model = inference.Model()

    def answer(self, arrays: Mapping[str, Any]) -> None:
        """Run the model."""
        try:
            self._model.run(arrays)
        except ValueError as error:
            raise SystemExit(f"the module refuses inputs {_show_shapes(arrays)}: {error}") from None


class _Client:
    """An open connection to the server, which sends requests of any size."""

    def __init__(self, port: int) -> None:
        self._datatypes = read_datatypes(port)
        self._path = f"{find_model_path()}/infer"
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def answer(self, arrays: Mapping[str, Any]) -> None:
        """Send a request and read its answer; one above the server's limit is refused, and that is no failure."""
        body, headers = make_body(self._datatypes, arrays)
        try:
            self._connection.request("POST", self._path, body, headers)
            response = self._connection.getresponse()
            status, answer = response.status, response.read()
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a body for its size answers before all of it is sent, and closes.
            self._connection.close()
            return
        if status not in (HTTPStatus.OK, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
            raise SystemExit(f"the server answers {status} to inputs {_show_shapes(arrays)}: {answer[:500]!r}")


def make_body(datatypes: Mapping[str, str], arrays: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Return a request of arrays, in JSON up to some thousand numbers and in binary above, and its own headers."""
    if sum(array.size for array in arrays.values()) <= _JSON_NUMBERS:
        return json.dumps(make_request(datatypes, arrays)).encode(), {}
    inputs, parts = [], []
    for name, array in arrays.items():
        if array.dtype.kind == "U":
            texts = [text.encode() for text in array.ravel().tolist()]
            data = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        else:
            data = array.tobytes()
        size = {"binary_data_size": len(data)}
        inputs.append({"name": name, "datatype": datatypes[name], "shape": list(array.shape), "parameters": size})
        parts.append(data)
    head = json.dumps({"inputs": inputs}).encode()
    return b"".join([head, *parts]), {"Inference-Header-Content-Length": str(len(head))}
