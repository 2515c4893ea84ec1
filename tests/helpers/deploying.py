"""Builds to make manifests of: folders with a report and a model, as a build leaves them."""

import json
from pathlib import Path
from typing import Any

from onnxpack.deploy.builds import Build, read_build

DIGEST, OTHER_DIGEST = f"sha256:{'a1' * 32}", f"sha256:{'b2' * 32}"
REPOSITORY = "registry.example.com/risk/iris"

LOAD = {
    "cores": 2, "seconds": 2.0, "idle_rss_bytes": 70_000_000, "cpu_seconds": 0.0001, "other_cpus": 0.05,
    "points": [
        {
            "clients": clients, "rate": rate, "p50_seconds": time, "p90_seconds": time * 1.5, "p99_seconds": time * 2,
            "slowest_seconds": 0.001, "requests": 1000, "errors": 0, "rss_bytes": 70_000_000 + 100_000 * clients,
        }
        for clients, rate, time in (
            (1, 6000.0, 0.0001), (2, 10000.0, 0.00015), (4, 12000.0, 0.0003), (8, 11900.0, 0.0006),
        )
    ],
    "histogram": {"edges_seconds": [0.0001, 0.00015, 0.0002, 0.0004], "counts": [900, 90, 10]},
    "held_out": {
        "rate": 7800.0, "predicted_p99_seconds": 0.0006, "measured_p99_seconds": 0.0007, "requests": 3000,
    },
}  # fmt: skip
SMOKE = {
    "ready_seconds": 0.9, "peak_rss_bytes": 72_000_000, "emulated": False, "load": LOAD,
    "soak": {"requests": 900, "rss_bytes": 7, "growth_bytes": 4, "peak_rss_bytes": 80_000_000},
}  # fmt: skip
IRIS: dict[str, Any] = {
    "name": "iris", "version": "1.0.0", "target": "cpu", "status": "passed", "stages": [],
    "model": {
        "inputs": [{"name": "float_input", "dtype": "float32", "shape": ["batch", 4]}],
        "outputs": [
            {"name": "label", "dtype": "int64", "shape": ["batch"]},
            {"name": "probabilities", "dtype": "float32", "shape": ["batch", 3]},
        ],
        "axes": {"batch": {"min": 1, "opt": 8, "max": 1024}},
    },
    "image": {"pushed": f"{REPOSITORY}@{DIGEST}"},
    "serving": {
        "image": f"{REPOSITORY}:1.0.0-cpu", "ports": [8080], "gpu": False, "server": "http", "device": "cpu",
        "platform": "linux/amd64", "isa": None, "threads": None, "workers": 1, "drain_seconds": 8.0,
        "max_body_bytes": 230_400, "max_batch_size": None, "max_queue_delay_seconds": 0.0, "other_targets": [],
    },
    "smoke": SMOKE,
}  # fmt: skip
"""A report, as far as manifests are made of it."""

CUDA = {
    "name": "scans", "target": "cuda", "version": "2.1+gpu",
    "model": {
        "inputs": [{"name": "image", "dtype": "float16", "shape": ["n", 3, "height", 224]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["n", 10]}],
        "axes": {"n": {"min": 1, "opt": 4, "max": 64}, "height": {"min": 32, "opt": 224, "max": 512}},
    },
    "image": {"pushed": f"registry.example.com:5000/scans@{OTHER_DIGEST}"},
    "serving": {
        "image": "registry.example.com:5000/scans:2.1-cuda", "ports": [9000, 9001], "gpu": True, "device": "cuda",
        "server": "http+grpc", "drain_seconds": 29.5, "max_body_bytes": 64 * 2**20, "max_batch_size": 32,
        "max_queue_delay_seconds": 0.002, "threads": 2, "workers": 2, "other_targets": ["cpu"],
    },
    "smoke": None,
}  # fmt: skip
ODD = {
    "name": "7-" + "very-long-" * 6 + "x", "target": "arm", "version": "…",
    "model": {
        "inputs": [
            {"name": 'a "quoted"\\ name: {{ x }}\n#', "dtype": "string", "shape": []},
            {"name": "müller\x07", "dtype": "bool", "shape": [2]},
        ],
        "outputs": [{"name": "y", "dtype": "uint8", "shape": ["free"]}],
        "axes": {},
    },
    "serving": {"isa": "neon-dotprod", "platform": "linux/arm64", "ports": [1]},
    "smoke": SMOKE | {"load": LOAD | {"other_cpus": 1.5}},
}  # fmt: skip
EXAMPLES = {"iris": {}, "scans": CUDA, "odd": ODD}
"""What of the report is another in each example: over HTTP, with gRPC and batches on a GPU, and with odd names."""


def make_report(**changes: Any) -> dict[str, Any]:
    """Return a report; of ``serving`` and ``smoke`` only what is given is another."""
    report = json.loads(json.dumps(IRIS))
    for key, value in changes.items():
        merges = isinstance(value, dict) and isinstance(report.get(key), dict)
        report[key] = report[key] | value if merges else value
    return report


def write_build(dist: Path, **changes: Any) -> Path:
    """Write what a build leaves into ``dist/NAME/TARGET``, and return that folder."""
    report = make_report(**changes)
    folder = dist / report["name"] / report["target"]
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "model.onnx").write_bytes(b"the model")
    return folder


def make_build(dist: Path, **changes: Any) -> Build:
    """Return a build that was written below ``dist``."""
    return read_build(write_build(dist, **changes))
