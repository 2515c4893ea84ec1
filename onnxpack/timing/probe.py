"""Check the server or the module inside the container under test, run there by ``python3 -c``.

It prints one JSON document. ``server PORT CASE TIMED`` asks the server that runs beside it over HTTP; ``module OUTPUTS
TIMED CASE…`` uses the generated module in this process; ``refusal LIBRARY…`` checks a GPU image where no GPU is. Cases
are files, and ``TIMED`` is the one whose latency is measured.
"""

import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np

FIRST_PROCESS = "ONNXPACK_FIRST_PROCESS"
"""The variable that names the process under test where it is not the first one of a container."""
PATIENCE = 120.0
"""Seconds to wait for the server to be ready, and for each of its answers."""
_TIMED_SECONDS = 1.0
_TIMED_TIMES = (3, 100)
"""A latency is the median of so many at least and at most."""
_PAUSE = 0.05  # seconds
"""How long nothing is asked before the first answer, and before those that it is compared with."""
_DTYPES: dict[str, Any] = {
    "BYTES": str, "BOOL": bool, **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"{word.upper()}{bits}": f"{word}{bits}" for word in ("int", "uint") for bits in (8, 16, 32, 64)},
}  # fmt: skip
_LATER_TIMES = (3, 9)
"""The first answer is compared with so many later ones at least and at most."""


def main(arguments: list[str]) -> dict[str, Any]:
    """Run one check, chosen by name."""
    mode, *rest = arguments
    if mode == "server":
        return check_server(int(rest[0]), Path(rest[1]), Path(rest[2]))
    if mode == "module":
        return check_module(Path(rest[0]), Path(rest[1]), [Path(case) for case in rest[2:]])
    return check_refusal(rest)


def check_server(port: int, case: Path, timed: Path) -> dict[str, Any]:
    """Measure the server's time until ready, its first answer, latency and peak memory, and ask it one case."""
    wait_until_ready(port)
    ready = _age_of_first_process()
    times = _time_server(port, timed)
    body = json.dumps(make_request(read_datatypes(port), read_inputs(case)))
    status, answer = _ask(port, "POST", f"{find_model_path()}/infer", body)
    return {
        "ready_seconds": ready,
        **times,
        "status": status,
        "answer": answer,
        "peak_rss_bytes": read_peak_rss(find_process()),
    }


def check_module(outputs: Path, timed: Path, cases: list[Path]) -> dict[str, Any]:
    """Answer every case with the generated module, write what it gives into a folder, and measure."""
    import files
    import inference

    model = inference.Model()
    ready = _age_of_first_process()
    inputs = files.read(timed)
    times = time_first(lambda: model.run(inputs))
    for case in cases:
        files.write(outputs / case.name, model.run(files.read(case)))
    return {
        "ready_seconds": ready,
        **times,
        "latency_p50_seconds": measure_median(lambda: model.run(inputs)),
        "peak_rss_bytes": read_peak_rss("self"),
    }


def check_refusal(libraries: list[str]) -> dict[str, Any]:
    """Check without a GPU that the provider's libraries are found and the module refuses to run on the CPU."""
    import inference
    import onnxruntime

    # As the generated module does, before libraries are looked up.
    onnxruntime.preload_dlls()
    missing = []
    for library in libraries:
        try:
            ctypes.CDLL(library)
        except OSError as error:
            missing.append(str(error))
    try:
        inference.Model()
    except Exception as error:
        return {"missing": missing, "refused": str(error)}
    return {"missing": missing, "refused": ""}


def measure_median(work: Callable[[], Any]) -> float:
    """Return the median time of a call in seconds; the caller has made one call before."""
    least, most = _TIMED_TIMES
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < least or (len(times) < most and time.perf_counter() - began < _TIMED_SECONDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def time_first(work: Callable[[], Any]) -> dict[str, float]:
    """Measure the first call, and the median of later ones that are made in the same way: alone, after a pause.

    Without the pause the later ones would find the processor's caches filled by the one before, which no model's
    warming can give to the first.
    """
    times: list[float] = []
    least, most = _LATER_TIMES
    while len(times) <= least or (len(times) <= most and sum(times) < _TIMED_SECONDS):
        time.sleep(_PAUSE)
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return {"first_answer_seconds": times[0], "later_answer_seconds": statistics.median(times[1:])}


def _time_server(port: int, inputs: Path) -> dict[str, float]:
    """Measure one request at a time on an open connection, from the first byte sent to the last one read."""
    # Before the clock starts: making JSON is the client's work.
    path, body = f"{find_model_path()}/infer", json.dumps(make_request(read_datatypes(port), read_inputs(inputs)))
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def ask(method: str = "POST", path: str = path, body: str | None = body) -> None:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        connection.getresponse().read()

    try:
        ask("GET", "/v2/health/ready", None)  # opens the connection, and warms this client
        return {**time_first(ask), "latency_p50_seconds": measure_median(ask)}
    finally:
        connection.close()


def read_peak_rss(process: str) -> int:
    """Return the peak resident set of a process, in bytes (VmHWM of proc(5))."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def find_process() -> str:
    """Return the number of the process under test: a container's first one, if there is a container."""
    return os.environ.get(FIRST_PROCESS, "1")


def _age_of_first_process() -> float:
    """Return the seconds since the container's command started (field 22 of /proc/PID/stat, proc(5))."""
    # The command's name, in parentheses, may hold spaces; field 3 is the first one behind it.
    fields = Path(f"/proc/{find_process()}/stat").read_text().rpartition(")")[2].split()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def wait_until_ready(port: int) -> None:
    """Wait until the server says that it is ready.

    Raises:
        SystemExit: it does not.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if _ask(port, "GET", "/v2/health/ready")[0] == 200:
                return
        except (OSError, HTTPException):
            pass  # it does not listen yet
        if time.monotonic() > end:
            raise SystemExit(f"the server was not ready within {PATIENCE:.0f} s")
        # Short beside a start of several hundred milliseconds, which is what is measured.
        time.sleep(0.005)


def _ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    return response.status, json.loads(text) if text else None


def find_model_path() -> str:
    """Return the model's path on the server."""
    import inference

    return f"/v2/models/{inference.NAME}"


def read_inputs(path: Path) -> dict[str, Any]:
    """Return the arrays of a case by name; of a request in JSON files stay the base64 that they are there."""
    if path.suffix == ".json":
        tensors = json.loads(path.read_bytes())["inputs"]
        return {one["name"]: np.array(one["data"], _DTYPES[one["datatype"]]).reshape(one["shape"]) for one in tensors}
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def read_datatypes(port: int) -> dict[str, str]:
    """Return the datatype of each input, as the server's own metadata names it."""
    metadata = _ask(port, "GET", find_model_path())[1]
    return {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]}


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""What stands for the numbers that JSON does not have."""


def make_request(datatypes: Mapping[str, str], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays as an Open Inference Protocol request in JSON."""
    return {
        "inputs": [
            {
                "name": name,
                "datatype": datatypes[name],
                "shape": list(array.shape),
                "data": [value if np.isfinite(value) else _NOT_FINITE[str(value)] for value in array.ravel().tolist()]
                if array.dtype.kind == "f"
                else array.ravel().tolist(),
            }
            for name, array in arrays.items()
        ]
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))  # noqa: T201
