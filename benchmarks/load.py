"""Compares the p99 that is predicted of a server with the one that it shows, and writes it into docs/manifests.md.

    .venv/bin/onnxpack build specs/iris … --engine none
    .venv/bin/python -m benchmarks.load dist/iris/cpu … [--rounds 7] [--real-time] [--write]

Each bundle's own server runs on this machine, and is asked for the usual sizes. A round raises the load as a build
does, predicts p99 at some shares of the capacity, and then measures random requests there. With --real-time server and
clients go before all other programs of a busy machine; only root can have that.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from onnxpack.core.text import format_time
from onnxpack.serve.bundle import Bundle, find_python, make_environment, read_bundle
from onnxpack.timing.load import HELD_OUT, Clients, make_histogram, make_request, raise_load
from onnxpack.timing.probe import wait_until_ready
from onnxpack.timing.queueing import Load, predict_p99
from onnxpack.timing.soak import resize_arrays

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from common import replace_made  # noqa: E402

PAGE = ROOT / "docs/manifests.md"
PORT = 18700
SHARES = (0.4, HELD_OUT, 0.8)
SECONDS = 2.0
OPEN_SECONDS = 3.0
ENOUGH = 8_000
"""Random requests after which a measurement ends before its time."""
FEWEST = 100
"""Random requests of which a slowest hundredth can be told."""


@dataclass
class Results:
    """What the rounds of one model showed: the capacity, and p99 as predicted and as measured at each share of it."""

    title: str
    capacities: list[float] = field(default_factory=list)
    pairs: dict[float, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def capacity(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.capacities)

    def compare(self, share: float) -> tuple[float, float] | None:
        """Return the medians of the predicted and of the measured times, in seconds."""
        found = self.pairs.get(share)
        return (statistics.median(p for p, _ in found), statistics.median(m for _, m in found)) if found else None


def main() -> None:
    """Measure all bundles, and print or write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--real-time", action="store_true")
    parser.add_argument("--write", action="store_true")
    said = parser.parse_args()
    if said.real_time:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    lines = show_table([measure(folder, said.rounds) for folder in said.bundles])
    print("\n".join(lines))
    if said.write:
        PAGE.write_text(replace_made(PAGE.read_text(), "benchmarks/load.py", "\n".join([*lines, ""])))


def measure(folder: Path, rounds: int) -> Results:
    """Measure one bundle."""
    report = json.loads((folder / "report.json").read_text())
    results = Results(describe(report))
    sys.path.insert(0, str(read_bundle(folder).app))
    with serving(read_bundle(folder)) as process:
        clients = Clients(PORT, make_request(PORT, read_case(folder, report)), str(process.pid))
        clients.ask_again(1, 0.5)
        for _ in range(rounds):
            measure_round(clients, results)
    sys.path.pop(0)
    sys.modules.pop("inference", None)
    return results


def measure_round(clients: Clients, results: Results) -> None:
    """Raise the load, predict, and measure at every share."""
    found = list(raise_load(clients, SECONDS))
    points = [{"clients": number, **series.describe(), "rss_bytes": rss} for number, series, rss in found]
    unused = {"cores": 0, "seconds": 0.0, "held_out": None, "idle_rss_bytes": 0, "cpu_seconds": 0.0, "other_cpus": 0.0}
    load = msgspec.convert({"points": points, "histogram": make_histogram(found[0][1].times), **unused}, Load)
    capacity = load.capacity
    results.capacities.append(capacity)
    for share in SHARES:
        if capacity * share * OPEN_SECONDS >= FEWEST:
            predicted = predict_p99(load, capacity * share)
            seconds = min(OPEN_SECONDS, ENOUGH / (capacity * share))
            measured = clients.ask_at_random(capacity * share, seconds).describe()["p99_seconds"]
            results.pairs.setdefault(share, []).append((predicted, measured))


@contextmanager
def serving(bundle: Bundle) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the server of a bundle until the block ends."""
    python = find_python(bundle)
    assert python, "no Python of the image's version is here"
    command = [python, "-s", "-S", "-m", "server", "--host", "127.0.0.1"]
    with subprocess.Popen(command, env=make_environment(bundle, PORT), cwd="/", stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_ready(PORT)
            yield process
        finally:
            process.terminate()
    time.sleep(0.5)  # the port becomes free


def read_case(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of a case, with all axes at their usual sizes."""
    usual = {name: axis["opt"] for name, axis in report["model"]["axes"].items()}
    shapes = {info["name"]: tuple(info["shape"]) for info in report["model"]["inputs"]}
    with np.load(folder / "reference.npz") as archive:
        case = archive.files[0].partition("/")[0]
        arrays = {name: archive[f"{case}/inputs/{name}"] for name in shapes}
    return resize_arrays(arrays, shapes, usual)


def describe(report: dict[str, Any]) -> str:
    """Return the model's name, and how its server batches."""
    batches = report["serving"]["max_batch_size"]
    return f"{report['name']}, batches of {batches}" if batches else str(report["name"])


def show_table(all_results: list[Results]) -> list[str]:
    """Return the lines of the table."""
    titles = ["model", "capacity, requests/s"]
    titles += [f"p99 at {share:.0%}: predicted, measured, error" for share in SHARES]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for results in all_results:
        cells = [results.title, f"{results.capacity:,.0f}"]
        for share in SHARES:
            found = results.compare(share)
            cells.append(
                f"{format_time(found[0])}, {format_time(found[1])}, {found[0] / found[1] - 1:+.0%}" if found else ""
            )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
