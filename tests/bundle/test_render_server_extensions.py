"""What load tools read of a generated server: Triton's model configuration, statistics and index."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bundle_examples import BATCHING, IRIS, write_modules
from serving import INFER, Server, request, serving, with_input

from onnxpack.core.values import TensorInfo

MODEL = "/v2/models/transactions"


@pytest.fixture(scope="module")
def server(apps: dict[str, Path]) -> Iterator[Server]:
    with serving(apps["transactions"]) as server:
        yield server


def test_config_has_the_batch_axis_apart(server: Server) -> None:
    status, config = server.ask("GET", f"{MODEL}/config")
    assert status == 200
    assert config["name"] == "transactions"
    assert (config["platform"], config["backend"]) == ("onnxruntime_onnx", "onnxruntime")
    assert config["max_batch_size"] == 64
    assert [(item["name"], item["data_type"], item["dims"]) for item in config["input"]] == [
        ("dates", "TYPE_FP32", [-1, 6]),
        ("input_ids", "TYPE_INT64", [-1, 20]),
        ("amounts", "TYPE_FP32", [-1]),
    ]
    score = {"name": "score", "data_type": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}, "label_filename": ""}
    assert config["output"] == [score]
    assert "dynamic_batching" not in config
    assert server.ask("GET", f"{MODEL}/versions/1.4.0/config") == (200, config)
    assert server.ask("POST", f"{MODEL}/config", b"")[0] == 405


def test_config_of_a_model_without_a_batch_axis(load: Callable[..., ModuleType]) -> None:
    config: Any = load("odd", "extensions").describe_config()
    assert config["max_batch_size"] == 0
    described = [(item["data_type"], item["dims"], item.get("reshape")) for item in config["input"]]
    assert described == [
        ("TYPE_STRING", [-1, 1], None),
        ("TYPE_BOOL", [2], None),
        ("TYPE_INT8", [2, 2], None),
        ("TYPE_INT8", [1], {"shape": []}),
    ]


def test_config_tells_of_dynamic_batching(load: Callable[..., ModuleType], tmp_path: Path) -> None:
    write_modules(tmp_path, replace(BATCHING, max_queue_delay=0.0025))
    config = load(tmp_path, "extensions").describe_config()
    batching = {"preferred_batch_size": [BATCHING.max_batch_size], "max_queue_delay_microseconds": 2500}
    assert config["dynamic_batching"] == batching


def ask_statistics(server: Server, path: str = f"{MODEL}/stats") -> dict[str, Any]:
    status, document = server.ask("GET", path)
    assert status == 200
    assert list(document) == ["model_stats"]
    [statistics] = document["model_stats"]
    return statistics


def test_statistics_grow_with_predictions(server: Server) -> None:
    before = ask_statistics(server)
    began = time.time()
    for _ in range(3):
        assert server.infer(request())[0] == 200
    document = request()
    for item, width in zip(document["inputs"], (12, 40, 2), strict=True):
        item.update(shape=[5, *item["shape"][1:]], data=[1] * width * 5)
    assert server.infer(document)[0] == 200
    assert server.infer(with_input(0, data=[]))[0] == 400
    for path in (f"{MODEL}/stats", f"{MODEL}/versions/1.4.0/stats", "/v2/models/stats"):
        after = ask_statistics(server, path)
        assert (after["name"], after["version"]) == ("transactions", "1.4.0")
        assert after["inference_count"] - before["inference_count"] == 8
        assert after["execution_count"] - before["execution_count"] == 4
        assert began * 1000 - 1 <= after["last_inference"] <= time.time() * 1000
        grown = {}
        for name, now in after["inference_stats"].items():
            then = before["inference_stats"][name]
            grown[name] = (now["count"] - then["count"], now["ns"] - then["ns"])
        counts = {name: count for name, (count, _) in grown.items()}
        stages = ["queue", "compute_input", "compute_infer", "compute_output"]
        assert counts == {"success": 4, "fail": 1, **dict.fromkeys(stages, 4), "cache_hit": 0, "cache_miss": 0}
        assert all(0 < grown[stage][1] < 30e9 for stage in stages[1:])
        assert grown["success"][1] == pytest.approx(sum(grown[stage][1] for stage in stages), abs=10)
        assert grown["fail"][1] > 0
        sizes = {item["batch_size"]: item["compute_infer"]["count"] for item in after["batch_stats"]}
        known = {item["batch_size"]: item["compute_infer"]["count"] for item in before["batch_stats"]}
        assert {size: count - known.get(size, 0) for size, count in sizes.items()} == {1: 3, 5: 1}


def test_server_says_what_it_has(server: Server) -> None:
    names = ["binary_tensor_data", "model_configuration", "statistics"]
    assert server.ask("GET", "/v2")[1]["extensions"] == names


def test_index_names_the_model(server: Server) -> None:
    index = [{"name": "transactions", "version": "1.4.0", "state": "READY", "reason": ""}]
    for body in (b"", b"{}", b'{"ready": true}'):
        assert server.ask("POST", "/v2/repository/index", body) == (200, index)
    assert server.ask("GET", "/v2/repository/index")[0] == 405


def test_a_model_may_be_called_stats(apps: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((apps["iris"] / "model.onnx").read_bytes())
    view = replace(IRIS, name="stats", inputs=(TensorInfo("float_input", "float32", ("batch", 4)),))
    write_modules(tmp_path, view)
    with serving(tmp_path) as server:
        assert server.ask("GET", "/v2/models/stats")[1]["name"] == "stats"
        assert ask_statistics(server, "/v2/models/stats/stats")["execution_count"] == 0
        assert server.ask("GET", INFER)[0] == 404
