"""Measures sizes and times and writes benchmarks/figures.md.

Run by `scripts/engine run -- .venv/bin/python benchmarks/figures.py`.
Each spec is built twice: fresh, in a cache of its own, and again with nothing changed. Times are medians; whole
processes are timed from outside. The machine is named by its cores only: ratios travel, seconds do not.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SPECS = ("iris", "digits", "transactions")
ROUNDS = 3
PROCESS_ROUNDS = 15
MANY = 200
STAGES = ("base", "export", "verify", "bundle", "compile", "image", "smoke")


def main() -> None:
    """Measures and writes."""
    fresh: dict[str, list[dict[str, Any]]] = {name: [] for name in SPECS}
    again: dict[str, list[float]] = {name: [] for name in SPECS}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="onnxpack-figures-") as folder:
            for name in SPECS:
                fresh[name].append(build(name, Path(folder), "--no-cache"))
                started = time.perf_counter()
                build(name, Path(folder))
                again[name].append(time.perf_counter() - started)
    text = "\n\n".join(["# Figures", about(), images(fresh), stages(fresh, again), serving(fresh), processes()])
    (ROOT / "benchmarks/figures.md").write_text(text + "\n")
    print(text)


def build(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """One build with its cache in ``folder``; its report."""
    environment = os.environ | {"ONNXPACK_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "onnxpack", "build", str(ROOT / "specs" / name), "--output", str(folder / "dist")]
    command += options
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    report: dict[str, Any] = json.loads((folder / "dist" / name / "cpu/report.json").read_text())
    return report


def about() -> str:
    """Where these come from."""
    return (
        f"Made by `benchmarks/figures.py` on {os.cpu_count()} shared cores; medians of {ROUNDS} builds and of "
        f"{PROCESS_ROUNDS} processes. The base is what `scripts/base` gave; sizes are uncompressed."
    )


def images(fresh: dict[str, list[dict[str, Any]]]) -> str:
    """Sizes by layer, in MB."""
    rows = [
        "## Image size",
        "| spec | base | runtime | model and modules | image without model | image |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, reports in fresh.items():
        image = reports[0]["image"]
        sizes = [layer["size_bytes"] for layer in image["layers"]]
        parts = (sum(sizes[:-2]), sizes[-2], sizes[-1], image["size_bytes"] - sizes[-1], image["size_bytes"])
        rows.append(f"| {name} | " + " | ".join(f"{part / 1e6:.2f} MB" for part in parts) + " |")
    return "\n".join([rows[0], "", *rows[1:]])


def stages(fresh: dict[str, list[dict[str, Any]]], again: dict[str, list[float]]) -> str:
    """Seconds of each stage, and of a whole second build."""
    rows = [
        "## Stages, in seconds",
        "",
        f"| spec | {' | '.join(STAGES)} | second build, whole process |",
        "|---|" + "--:|" * 6,
    ]
    for name, reports in fresh.items():
        medians = [
            statistics.median(
                sum(stage["seconds"] for stage in report["stages"] if stage["name"] == wanted) for report in reports
            )
            for wanted in STAGES
        ]
        cells = [f"{value:.2f}" for value in (*medians, statistics.median(again[name]))]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", "Wheels were in uv's cache."])


def serving(fresh: dict[str, list[dict[str, Any]]]) -> str:
    """What the smoke test saw."""
    rows = ["## In the container", "", "| spec | ready | first answer | peak memory |", "|---|--:|--:|--:|"]
    for name, reports in fresh.items():
        smoke = [report["smoke"] for report in reports]
        ready = statistics.median(facts["ready_seconds"] for facts in smoke)
        answer = statistics.median(facts["first_answer_seconds"] for facts in smoke)
        memory = statistics.median(facts["peak_rss_bytes"] for facts in smoke)
        rows.append(f"| {name} | {ready:.2f} s | {answer * 1e3:.1f} ms | {memory / 1e6:.0f} MB |")
    return "\n".join(rows)


def processes() -> str:
    """Whole processes of the command line, with python's own start for scale."""
    script = str(Path(sys.executable).with_name("onnxpack"))
    with tempfile.TemporaryDirectory(prefix="onnxpack-many-") as folder:
        for number in range(MANY):
            shutil.copytree(ROOT / "specs/transactions", Path(folder, str(number)))
        return timed(script, folder)


def timed(script: str, many: str) -> str:
    """The table of whole processes; ``many`` is a folder of specs."""
    commands = {
        "`python -c pass`": [sys.executable, "-c", "pass"],
        "`onnxpack --help`": [script, "--help"],
        "`onnxpack validate` of one spec": [script, "validate", str(ROOT / "specs/iris/spec.yaml")],
        f"`onnxpack validate` of {MANY} specs": [script, "validate", many],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(PROCESS_ROUNDS):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - started)
    rows = ["## Whole processes", "", "| command | median |", "|---|--:|"]
    return "\n".join([*rows, *(f"| {name} | {statistics.median(values):.3f} s |" for name, values in times.items())])


if __name__ == "__main__":
    main()
