"""What a generated server counts: /metrics, as a strict reader of Prometheus' text format sees it."""

import http.client
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bundle_examples import BATCHING, IRIS, write_modules
from serving import Server, request, serving, with_input

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:{{({LABEL}(?:,{LABEL})*)}})? (-?[0-9.]+(?:e[+-]?[0-9]+)?)")
KINDS = {"counter", "gauge", "histogram"}

Metrics = dict[str, dict[str, float]]


def read_metrics(text: str) -> Metrics:
    """Read a document strictly; give each metric's samples by what stands behind its name."""
    assert text.endswith("\n")
    found: Metrics = {}
    kinds: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("# HELP "):
            name, _, about = line.removeprefix("# HELP ").partition(" ")
            assert re.fullmatch(NAME, name)
            assert name not in found, "a metric's lines must be together"
            assert about
            assert next(lines).startswith(f"# TYPE {name} ")
            kinds[name] = text.partition(f"# TYPE {name} ")[2].partition("\n")[0]
            assert kinds[name] in KINDS
            assert kinds[name] != "counter" or name.endswith("_total")
            found[name] = {}
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match[1].startswith(name)
        rest = match[1].removeprefix(name)
        assert rest in (("_bucket", "_sum", "_count") if kinds[name] == "histogram" else ("",))
        key = f"{rest}{{{match[2]}}}" if match[2] else rest
        assert key not in found[name], "a sample must be there once"
        found[name][key] = float(match[3])
    for name, kind in kinds.items():
        assert all(value >= 0 for value in found[name].values())
        if kind == "histogram":
            check_histogram(found[name])
    return found


def check_histogram(samples: dict[str, float]) -> None:
    buckets = [(key.split('"')[1], value) for key, value in samples.items() if key.startswith("_bucket")]
    ends = [float(end) for end, _ in buckets]
    counts = [count for _, count in buckets]
    assert ends == sorted(set(ends))
    assert ends[-1] == float("inf")
    assert counts == sorted(counts)
    assert counts[-1] == samples["_count"]


def ask_metrics(server: Server) -> Metrics:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return read_metrics(response.read().decode())


@pytest.fixture(scope="module")
def server(apps: dict[str, Path]) -> Iterator[Server]:
    with serving(apps["transactions"]) as server:
        yield server


def test_predictions_are_counted_by_what_came_of_them(server: Server) -> None:
    before = ask_metrics(server)
    for _ in range(3):
        assert server.infer(request())[0] == 200
    document = request()
    for item, width in zip(document["inputs"], (12, 40, 2), strict=True):
        item.update(shape=[5, *item["shape"][1:]], data=[1] * width * 5)
    assert server.infer(document)[0] == 200
    assert server.infer(with_input(0, data=[]))[0] == 400
    assert server.ask("GET", "/nothing")[0] == 404
    after = ask_metrics(server)

    def grown(name: str, key: str = "") -> float:
        return after[name][key] - before[name].get(key, 0)

    codes = {key: grown("onnxpack_requests_total", key) for key in after["onnxpack_requests_total"]}
    assert codes == {'{code="200"}': 5, '{code="400"}': 1, '{code="404"}': 1}, "the first /metrics is counted too"
    assert grown("onnxpack_request_seconds", "_count") == 7
    assert grown("onnxpack_predictions_total", '{result="success"}') == 4
    assert grown("onnxpack_predictions_total", '{result="failure"}') == 1
    assert (grown("onnxpack_runs_total"), grown("onnxpack_rows_total")) == (4, 8)
    assert (grown("onnxpack_run_rows", "_count"), grown("onnxpack_run_rows", "_sum")) == (4, 8)
    rows = [grown("onnxpack_run_rows", f'_bucket{{le="{end}"}}') for end in ("1", "2", "4", "8", "32", "+Inf")]
    assert rows == [3, 3, 3, 4, 4, 4]
    stages = [grown("onnxpack_stage_seconds_total", f'{{stage="{stage}"}}') for stage in ("read", "infer", "write")]
    assert all(0 < seconds < 30 for seconds in stages)
    assert 0 < grown("onnxpack_run_seconds_total") <= stages[1] * 1.0001
    assert sum(stages) < grown("onnxpack_request_seconds", "_sum")


def test_the_process_is_told_under_the_usual_names(server: Server) -> None:
    metrics = ask_metrics(server)
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) * 1024
    assert metrics["process_resident_memory_bytes"][""] == pytest.approx(resident, rel=0.1)
    assert 0.1 < metrics["process_cpu_seconds_total"][""] <= server.cpu_seconds() + 0.1
    assert time.time() - 600 < metrics["process_start_time_seconds"][""] < time.time()
    assert 0 < metrics["process_open_fds"][""] < metrics["process_max_fds"][""]
    assert metrics["onnxpack_ready"] == {"": 1}
    assert metrics["onnxpack_connections"] == {"": 1}


def test_runs_of_a_batch_are_counted_once_and_their_waiting_apart(apps: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((apps["transactions"] / "model.onnx").read_bytes())
    write_modules(tmp_path, BATCHING)
    with serving(tmp_path) as server:
        for _ in range(3):
            assert server.infer(request())[0] == 200
        metrics = ask_metrics(server)
    assert metrics["onnxpack_run_rows"]["_count"] == 3
    assert metrics["onnxpack_predictions_total"]['{result="success"}'] == 3
    infer = metrics["onnxpack_stage_seconds_total"]['{stage="infer"}']
    assert infer == pytest.approx(metrics["onnxpack_run_seconds_total"][""], abs=0.05)


def make_zeros(figures: np.dtype[np.void]) -> dict[str, np.ndarray]:
    return {name: np.zeros(figures[name].shape) for name in figures.names or ()}


def test_names_are_quoted(load: Callable[..., ModuleType]) -> None:
    prometheus = load("odd", "prometheus")
    assert prometheus.label(a='x"\\\n', b="é") == '{a="x\\"\\\\\\n",b="é"}'
    text = prometheus.write_metrics(make_zeros(load("odd", "metrics").FIGURES))
    assert read_metrics(text.decode())["onnxpack_model_info"] == {'{name="odd",version=""}': 1}


def test_a_model_without_a_batch_axis_has_no_histogram_of_rows(load: Callable[..., ModuleType]) -> None:
    text = load("odd", "prometheus").write_metrics(make_zeros(load("odd", "metrics").FIGURES))
    assert "onnxpack_run_rows" not in read_metrics(text.decode())


def test_large_runs_are_counted_as_ones_of_the_most_rows(load: Callable[..., ModuleType], tmp_path: Path) -> None:
    write_modules(tmp_path, replace(IRIS, axes=(replace(IRIS.axes[0], max=10**6),)))
    group = load(tmp_path, "prometheus").group_rows
    counts = [0.0] * 1025
    counts[1], counts[2], counts[3], counts[4], counts[5], counts[512], counts[513], counts[1024] = range(1, 9)
    grouped = group(counts)
    assert grouped == [1, 2, 3 + 4, 5, 0, 0, 0, 0, 0, 6, 7 + 8]


class Idle:
    """A server that does nothing."""

    draining = False
    body_bytes = 0
    connections = ()
    waiting = running = 0

    @property
    def workers(self) -> "Idle":
        return self


def test_many_predictions_add_up_as_one_by_one(load: Callable[..., ModuleType]) -> None:
    module = load("iris", "metrics")
    metrics = module.Metrics(Idle())
    now = time.perf_counter()
    for index in range(3 * module.MANY + 7):
        rows = index % 70  # 0 means that the model did not run
        ends = [now - 1 + offset for offset in (0, 0.125, 0.25, 0.5, 0.75)]
        metrics.count_prediction((rows % 2 == 0, rows, *ends))
    figures = metrics.read()
    count = 3 * module.MANY + 7
    all_rows = [index % 70 for index in range(count)]
    good = sum(rows % 2 == 0 for rows in all_rows)
    assert figures["predictions"].tolist() == [count - good, good]
    assert figures["prediction_seconds"].tolist() == pytest.approx([0.75 * (count - good), 0.75 * good])
    assert figures["stage_seconds"].tolist() == pytest.approx([0.125 * good, 0.125 * good, 0.25 * good, 0.25 * good])
    assert figures["rows"] == sum(all_rows)
    assert figures["runs"][:64].tolist() == [0, *(all_rows.count(rows) for rows in range(1, 64))]
    assert figures["runs"][64] == sum(rows >= 64 for rows in all_rows)
    assert figures["run_seconds"][1] == pytest.approx(0.25 * all_rows.count(1))
    assert figures["newest"] == pytest.approx(time.time() - 0.25, abs=10)


def test_numbers_are_written_as_prometheus_reads_them(load: Callable[..., ModuleType]) -> None:
    write = load("iris", "prometheus").write
    lines = list(write("x", "gauge", "About.", {"": 3, "a": 0.25, "b": 2.0**60, "c": 1e-7}))
    assert lines[2:] == ["onnxpack_x 3", "onnxpack_xa 0.25", "onnxpack_xb 1.152921504606847e+18", "onnxpack_xc 1e-07"]
